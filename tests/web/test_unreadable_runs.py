"""Run folders that were damaged, cut off or made to hurt: none hides another."""

from __future__ import annotations

import json
import os
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from safebench.web.browsed_runs import without_surrogates
from safebench.web.predictions_page import PER_PAGE, page_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask.testing import FlaskClient

    Read = Callable[..., Any]
    Make = Callable[..., Path]

ROW = {"run": "r", "classifier": "keyword", "model": "m", "strategy": "score",
       "dataset": "mine", "task": "prompt_harm", "n": 4, "metric": "auroc",
       "value": 0.7}  # fmt: skip
DEEP = '{"a":' * 900 + "1" + "}" * 900
GOOD = json.dumps(ROW).encode()
SOON = 2.0


def row(**values: Any) -> bytes:
    """Return a line of results with other values."""
    return json.dumps(ROW | values).encode()


def with_text(field: str, text: str) -> bytes:
    """Return a line of results with a field as it is written in JSON."""
    return (json.dumps(ROW)[:-1] + f', "{field}": {text}}}').encode()


UNREADABLE = {
    "brackets": b"[" * 100_000,
    "objects": b'{"a":' * 100_000,
    "brackets after a row": GOOD + b"\n" + b"[" * 100_000,
    "deep parameters": with_text("params", DEEP),
    "random": random.Random(3).randbytes(200_000),
    "zeros": bytes(1000),
    "image": b"\x89PNG\r\n\x1a\n\x00\x00",
    "UTF-16": json.dumps(ROW).encode("utf-16"),
    "packed": b"\x1f\x8b\x08\x00" + bytes(100),
    "cut off": GOOD[:60],
    "cut off in a character": '{"run": "é'.encode()[:-1],
    "empty": b"",
    "an array": b"[1, 2]",
    "a word": b'"x"\nnull\n3',
    "no rows but a manifest": b'{"models": null}',
    "parameters of another shape": row(params=[1]),
    "a value that is text": row(value="x" * 1_000_000),
    "a value without end": row(value=10**400),
    "a count without end": row(n=-(10**400)),
    "5,000 digits": with_text("threshold", "1" * 5000),
    "many bad lines": b"{oops\n" * 100_000,
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_said_and_hides_no_other(
    client: FlaskClient, read_page: Read, make_run: Make, data: bytes
) -> None:
    """Marked in the list with its file, 400 alone; the run beside it is as before."""
    make_run("good", [{"metric": "auroc", "value": 0.7}])
    folder = make_run("odd", [])
    (folder / "results.jsonl").write_bytes(data)
    start = time.process_time()  # a busy machine costs no time of this process

    listed, alone, good = (client.get(f"/runs/{n}") for n in ("", "odd", "good"))

    seconds = time.process_time() - start
    assert [200, 400, 200] == [r.status_code for r in (listed, alone, good)]
    assert "runs/odd/results.jsonl" in read_page(listed).text()
    assert "runs/odd/results.jsonl" in read_page(alone).text()
    assert "keyword on mine; 1 line" in read_page(listed).text()
    assert "0.700" in read_page(good).text()
    assert len(listed.data) < 20_000
    assert seconds < SOON


def _folder(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**33)


def _circle(path: Path) -> None:
    path.symlink_to(path.name)


def _nowhere(path: Path) -> None:
    path.symlink_to("elsewhere")


ODD_FILES = [_folder, _pipe, _endless, _huge, _circle, _nowhere]


@pytest.mark.parametrize("make_odd", ODD_FILES)
def test_what_is_no_file_is_not_read(
    client: FlaskClient,
    read_page: Read,
    make_run: Make,
    make_odd: Callable[[Path], None],
) -> None:
    """A folder, a pipe, a device, 8 GiB, and links: said at once, for both files."""
    make_run("good", [{"metric": "auroc", "value": 0.7}])
    folder = make_run("odd", [])
    (folder / "results.jsonl").unlink()
    make_odd(folder / "results.jsonl")
    place = "predictions/keyword/mine.all/odd.jsonl"
    with suppress(OSError):
        make_odd(folder.parent / "good" / place)
    start = time.process_time()

    names = ("", "odd", "good", f"good/{place}")
    responses = [client.get(f"/runs/{name}") for name in names]

    seconds = time.process_time() - start
    statuses = [r.status_code for r in responses]
    assert [200, 400, 200] == statuses[:3]
    assert statuses[3] in (400, 404)  # a link to nothing is not listed
    assert "odd/results.jsonl" in read_page(responses[0]).text()
    assert seconds < SOON


@pytest.mark.parametrize("link", ["odd", "../runs", "nothing", "/"])
def test_links_among_the_runs_hide_nothing(
    client: FlaskClient, read_page: Read, make_run: Make, link: str
) -> None:
    """A link to itself, to the folder above, to nothing, and to the root."""
    folder = make_run("good", [{"metric": "auroc", "value": 0.7}])
    (folder.parent / "odd").symlink_to(link)

    listed = client.get("/runs/")

    assert 200 == listed.status_code
    assert "keyword on mine; 1 line" in read_page(listed).text()
    assert 200 == client.get("/runs/good").status_code


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"caf\xe9", r"caf\xe9"),
        (b"\xff\xfe", r"\xff\xfe"),
        ("Läufe".encode("utf-16-le").replace(b"\0", b"\x81"), None),
        (b"a\nb", None),
        ("\u202egnp".encode(), None),
        (b"a?b#c%2F&d", "a?b#c%2F&d"),
        (b"n" * 255, None),
        (b"...", "..."),
    ],
)
def test_folders_have_any_name(
    client: FlaskClient,
    read_page: Read,
    make_run: Make,
    name: bytes,
    shown: str | None,
) -> None:
    """Each is listed with a link that opens it, and so are its predictions."""
    folder = make_run("good", [{"metric": "auroc", "value": 0.7}], [{"id": "x-1"}])
    make_run("other", [{"metric": "auroc", "value": 0.7}])
    place = folder / "predictions" / "keyword" / "mine.all"
    (place / "score.jsonl").rename(place / os.fsdecode(b"odd\xff#.jsonl"))
    folder.rename(folder.parent / os.fsdecode(name))

    page = read_page(client.get("/runs/"))
    links = [a["href"] for a in page.all("a") if (a["href"] or "").startswith("/runs/")]
    pages = [client.get(link) for link in links]
    tables = [read_page(response) for response in pages]
    (file,) = [
        a["href"]
        for t in tables
        for a in t.all("a")
        if "odd" in (a["href"] or "") and (a["href"] or "").endswith(".jsonl")
    ]

    assert 2 == len(set(links))
    assert [200] * 2 == [response.status_code for response in pages]
    assert shown is None or shown in page.text()
    predictions = client.get(file)
    assert 200 == predictions.status_code
    assert "x-1" in read_page(predictions).text()


def test_a_run_that_is_gone_hides_no_other(
    odd_guards: Any, read_page: Read, make_run: Make
) -> None:
    """Of two folders named on the command line, one was removed in between."""
    from safebench.web.app import create_app
    from safebench.web.state import AppState

    kept = make_run("kept", [{"metric": "auroc", "value": 0.7}])
    gone = kept.parent / "gone"
    state = AppState(plugins=odd_guards, runs=(str(gone), str(kept)))
    client = create_app(state).test_client()

    listed, table = client.get("/runs/"), client.get("/runs/kept")

    assert [200, 200] == [listed.status_code, table.status_code]
    assert "no run folder or results file" in read_page(listed).text()


PREDICTION = {"id": "x", "part": "test", "score": 0.5, "decision": True, "label": True,
              "uncertainty": None, "error": None, "raw": None}  # fmt: skip


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"score": 10**400}, 400),
        ({"score": float("inf"), "uncertainty": float("nan")}, 200),
        ({"id": "\ud800", "raw": "\udc80", "part": "\udfff"}, 200),
        ({"id": {"a": [1]}, "part": [1], "score": "x", "decision": "maybe", "label": 3},
         200),
        ({"raw": "x" * 5_000_000}, 200),
        ({"error": "x" * 5_000_000}, 200),
    ],
)  # fmt: skip
def test_predictions_may_hold_anything(
    client: FlaskClient, read_page: Read, make_run: Make, values: Any, status: int
) -> None:
    """A page or a reason, of a size that a browser takes."""
    make_run("tried", [{"metric": "auroc", "value": 0.7}], [PREDICTION | values])

    response = client.get("/runs/tried/predictions/keyword/mine.all/score.jsonl")

    assert status == response.status_code
    assert len(response.data) < 50_000
    assert status == 200 or "mine.all/score.jsonl" in read_page(response).text()


@pytest.mark.parametrize(
    "field", ["classifier", "dataset", "strategy", "note", "model"]
)
@pytest.mark.parametrize("value", ["\ud800", "\udcff\udfff", "a" * 100_000])
def test_rows_may_hold_any_text(
    client: FlaskClient, make_run: Make, field: str, value: str
) -> None:
    """Lone surrogates are valid JSON and no valid page: a table or a reason."""
    make_run("good", [{"metric": "auroc", "value": 0.7}])
    make_run("tried", [{"metric": "auroc", "value": 0.7, field: value}])

    statuses = [client.get(f"/runs/{n}").status_code for n in ("", "good", "tried")]

    assert [200, 200] == statuses[:2]
    assert statuses[2] in ((200,) if value.isascii() else (200, 400))


@pytest.mark.parametrize("count", [0, 1, PER_PAGE, PER_PAGE + 1, 5 * PER_PAGE - 1])
@pytest.mark.parametrize("number", [-1, 1, 2, 5, 99])
def test_a_page_is_a_slice_of_all_lines(count: int, number: int) -> None:
    """As a list would be cut; a number outside is brought back."""
    rows = list(range(count))
    last = max(1, -(-count // PER_PAGE))
    expected = min(last, max(1, number))

    page = page_of(rows, number)

    assert (expected, last, count) == (page.number, page.last, page.count)
    assert rows[(expected - 1) * PER_PAGE : expected * PER_PAGE] == page.rows


@pytest.mark.parametrize("data", [b"plain", b"caf\xe9", b"\xff\x80\xc3", "é".encode()])
def test_names_are_written_as_python_escapes_bytes(data: bytes) -> None:
    r"""What is no UTF-8 is spelt as ``\xNN``, what is stays."""
    assert data.decode("utf-8", "backslashreplace") == without_surrogates(
        os.fsdecode(data)
    )
