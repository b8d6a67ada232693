"""`safebench serve` as a process: it says where, answers, and stops when told."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.cli.serve import HOST, command
from safebench.plugins import Plugins
from safebench.web.server import is_local

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Serving = tuple[str, subprocess.Popen[str]]

pytestmark = pytest.mark.slow


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """Serve from an empty folder on a free port; yield the address and the process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "safebench", "serve", "-c", "keyword", "--port", "0"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell that starts this in the background lets it ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    assert process.stdout is not None
    with process:
        try:
            text = process.stdout.readline()
            match = re.search(r"http://[\d.]+:\d+/", text)
            assert match, f"{text!r}, then {process.stderr and process.stderr.read()!r}"
            yield match[0], process
        finally:  # waiting for a server would never end
            if process.poll() is None:
                process.kill()


def ask(address: str, fields: dict[str, str] | None = None) -> tuple[int, str]:
    """Return status and page of a GET, or of a POST of fields."""
    data = urllib.parse.urlencode(fields).encode() if fields else None
    try:
        with urllib.request.urlopen(address, data, timeout=240) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.slow
def test_it_answers_over_http(serving: Serving) -> None:
    """The page, a judgement, the style sheet, and a refusal of ten megabytes."""
    address, _ = serving

    assert 200 == ask(address)[0]
    status, text = ask(address, {"prompt": "attack"})
    assert (200, True) == (status, '<h2 id="verdict">unsafe</h2>' in text)
    assert 200 == ask(f"{address}static/style.css")[0]
    status, text = ask(address, {"prompt": "a" * 10_000_000})
    assert (413, True) == (status, "4 MiB" in text)


@pytest.mark.slow
def test_it_is_for_this_machine_alone(serving: Serving) -> None:
    """Unless told otherwise it listens on 127.0.0.1 and on no other address."""
    address, _ = serving
    port = urllib.parse.urlsplit(address).port
    assert port is not None
    assert address.startswith(f"http://{HOST}:")

    with socket.socket() as other:
        other.bind(("127.0.0.2", port))  # free only if not all addresses are taken


@pytest.mark.slow
def test_a_wider_address_is_warned_of(tmp_path: Path) -> None:
    """On 0.0.0.0 the terminal says who can use the page; the address can be opened."""
    command = ["serve", "-c", "keyword", "--host", "0.0.0.0", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "safebench", *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        text = process.stdout.readline()
        process.kill()
        _, warned = process.communicate(timeout=240)

    assert "http://127.0.0.1:" in text
    assert warned.startswith("warning: whoever can reach this machine (it listens on 0")


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.0.0.2", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.7", False),
        ("guards.example", False),
    ],
)
def test_which_addresses_are_this_machine_alone(host: str, local: bool) -> None:
    """Loopback addresses are; a name is only if it is localhost."""
    assert local == is_local(host)


@pytest.mark.slow
def test_ctrl_c_stops_it(serving: Serving) -> None:
    """Exit code 0, no traceback."""
    _, process = serving

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=240)

    assert 0 == process.returncode, errors
    assert "stopped" == errors.strip()


def test_a_port_that_is_taken_is_named() -> None:
    """Exit code 2 and one line that says what would work."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        result = CliRunner().invoke(
            cli, ["serve", "-c", "keyword", "--port", port], obj=Plugins()
        )

    assert 2 == result.exit_code
    assert f"cannot serve on {HOST}:{port}" in result.stderr
    assert "--port 0" in result.stderr
    assert 1 == len(result.stderr.splitlines())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["runs/nothing"], "no run folder or results file"),
        (["prompts.jsonl"], "prompts.jsonl:1: no result row"),
        (["-c", "keywrd"], "did you mean 'keyword'?"),
        (["-c", "keyword,saturaton=2"], "did you mean 'saturation'?"),
        (["-c", "keyword", "-c", "keyword"], "2 classifiers are called 'keyword'"),
        (["--host", "no such host"], "cannot serve on no such host"),
        (["--port", "99999"], "99999"),
    ],
)
def test_a_mistake_is_told_before_it_serves(
    args: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, no traceback, no server."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "x"}\n', encoding="utf-8")

    result = CliRunner().invoke(cli, ["serve", *args], obj=Plugins())

    assert 2 == result.exit_code, result.output
    assert message in result.stderr
    assert "serving" not in result.stdout


@pytest.mark.parametrize("missing", ["flask", "waitress"])
def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    """The core works without a web library; this command names the extra."""
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from safebench.cli import main\n"
        "sys.argv = ['safebench', 'serve', '--port', '0']; main()"
    )

    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )

    assert 2 == result.returncode, result.stderr
    assert "pip install 'safebench[serve]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_it_needs_no_argument() -> None:
    """Every parameter has a default, and the host's is this machine."""
    assert not any(parameter.required for parameter in command.params)
    defaults = {p.name: p.default for p in command.params}
    assert "127.0.0.1" == defaults["host"]
