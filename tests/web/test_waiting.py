"""Slow models: pages do not wait for them, and a queue shows one's place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from safebench.pipeline.config import ComponentRef
from safebench.web.app import create_app
from safebench.web.state import MAX_HELD_REQUESTS, AppState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from safebench.plugins import Plugins

    Read = Callable[..., Any]
    Serve = Callable[[], tuple[str, Path]]


@pytest.fixture
def serve(install: Any) -> Iterator[Serve]:
    """Return a function that serves a guard which answers once a file is gone.

    It returns the address of the site, and the file.
    """
    processes = []

    def start() -> tuple[str, Path]:
        installed = install("slow_guard")
        hold = installed.cwd / "hold"
        hold.write_text("1\n", encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-m", "safebench", "serve", "--port", "0",
             "-c", "slow", "-c", "keyword"],
            cwd=installed.cwd,
            env=os.environ | {"PYTHONPATH": str(installed.site)},
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        processes.append(process)
        assert process.stdout is not None
        match = re.search(r"http://[\d.]+:\d+/", process.stdout.readline())
        assert match
        return match[0], hold

    yield start
    for process in processes:
        with process:
            process.kill()


def ask(address: str, fields: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Return status, page and address; redirections are followed."""
    data = urllib.parse.urlencode(fields).encode() if fields else None
    try:
        response = urllib.request.urlopen(address, data, timeout=240)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        page = response.read().decode()
    return response.status or 0, page, response.url


@pytest.mark.slow
def test_pages_do_not_wait_for_four_slow_requests(serve: Serve) -> None:
    """While four wait for the guard, every page comes, and each sees its place."""
    address, hold = serve()
    pages = ("", "runs/", "static/style.css", "nowhere")
    for page in pages:
        ask(address + page)
    ask(address, {"prompt": "x", "classifier": "nobody"})  # waits until all are known
    with ThreadPoolExecutor(4) as pool:
        posted = [
            pool.submit(ask, address, {"prompt": f"x{i}", "classifier": "slow"})
            for i in range(4)
        ]
        while not hold.with_name("shards-begun").exists():
            time.sleep(0.01)
        answers = [ask(address + page) for page in pages]
        waiting = [future.result() for future in posted]
    again = [ask(address + page) for page in pages]
    places = [ask(url)[1] for *_, url in waiting]
    hold.unlink()

    assert [200, 200, 200, 404] * 2 == [status for status, *_ in answers + again]
    assert [202] * 4 == [status for status, *_ in waiting]
    found = [
        re.search(r"Place (\d) in the queue|slow has been at it", p) for p in places
    ]
    assert {None, "2", "3", "4"} == {match[1] if match else "?" for match in found}


@pytest.mark.slow
def test_the_answer_comes_to_who_waits(serve: Serve) -> None:
    """The page of one that waits leads to its answer, as often as it is opened."""
    address, hold = serve()
    status, page, url = ask(address, {"prompt": "attack", "classifier": "slow"})
    assert (202, True) == (status, 'http-equiv="refresh"' in page)
    assert 202 == ask(url)[0]
    hold.unlink()
    end = time.monotonic() + 240
    while status == 202 and time.monotonic() < end:
        time.sleep(0.1)
        status, page, url = ask(url)

    assert 200 == status
    assert "/answers/" in url
    assert re.search(r'<h2 id="verdict">(un)?safe</h2>', page)
    assert "attack</textarea>" in page
    assert (200, page) == ask(url.partition("#")[0])[:2]


def test_some_threads_are_never_held(
    odd_guards: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the first few, a request that waits is sent to its page at once."""
    state = AppState(plugins=odd_guards, patience=240.0)
    client = create_app(state).test_client()
    gate = Event()
    monkeypatch.setattr(
        state.service, "record", lambda *args: gate.wait(240) and sys.exit(3)
    )
    fields = {"prompt": "x", "classifier": "keyword"}
    app = client.application
    with ThreadPoolExecutor(MAX_HELD_REQUESTS) as pool:
        held = [
            pool.submit(lambda: app.test_client().post("/", data=fields).status_code)
            for _ in range(MAX_HELD_REQUESTS)
        ]
        end = time.monotonic() + 240
        while state._held._value and time.monotonic() < end:
            time.sleep(0.01)
        response = client.post("/", data=fields)  # while nothing can be answered
        page = client.get(response.headers["Location"]).get_data(as_text=True)
        gate.set()
        statuses = [future.result() for future in held]

    assert 303 == response.status_code
    assert f"Place {MAX_HELD_REQUESTS + 1} in the queue" in page
    assert [500] * MAX_HELD_REQUESTS == statuses


@pytest.mark.slow
def test_what_died_while_it_waited_is_told(
    odd_guards: Plugins, read_page: Read
) -> None:
    """The address of one that waits shows the error of its work, with its status."""
    classifiers = tuple(ComponentRef(n, n) for n in ("bursting", "liar"))
    state = AppState(plugins=odd_guards, classifiers=classifiers, patience=0.0)
    client = create_app(state).test_client()
    statuses, texts = [], []
    for name in ("bursting", "liar"):
        url = client.post("/", data={"prompt": "x", "classifier": name}).headers[
            "Location"
        ]
        end = time.monotonic() + 240
        while (response := client.get(url, follow_redirects=True)).status_code == 202:
            assert time.monotonic() < end
            time.sleep(0.05)
        statuses.append(response.status_code)
        texts.append(read_page(response).text())

    assert [500, 400] == statuses
    assert "Something broke" in texts[0]
    assert "broke its contract" in texts[1]


@pytest.mark.parametrize("path", ["/waiting/x", "/answers/x", "/answers/%ff"])
def test_an_answer_that_is_not_kept_is_told(
    odd_guards: Plugins, read_page: Read, path: str
) -> None:
    """404, and what to do."""
    client = create_app(AppState(plugins=odd_guards)).test_client()

    response = client.get(path)

    assert 404 == response.status_code
    assert "judge the conversation again" in read_page(response).text()
