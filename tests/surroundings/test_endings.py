"""How commands end: exit codes as documented, and no secret in what they leave."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from click.testing import CliRunner, Result

from safebench.__main__ import main
from safebench.cli import cli
from safebench.errors import ModelError
from safebench.isolation import describe_error
from safebench.plugins import ENTRY_POINT_GROUP, Plugins
from safebench.training import Artifact

if TYPE_CHECKING:
    from collections.abc import Callable

SERVICE = '''
"""A classifier that asks a service, with a key."""
from dataclasses import dataclass

import numpy as np

from safebench import ClassifierSpec, hookimpl
from safebench.classifiers import Classifier, Recording, Trace
from safebench.evidence import Scores


@dataclass(frozen=True)
class Options:
    api_key: str = ""
    auth: str = ""
    url: str = ""
    n: int = 1


META = {"labels": ["unsafe"], "scale": "probability", "exclusive": False}


class Service(Classifier):
    @property
    def facts(self):
        return {"access_key": self.options.api_key, "device": "cpu"}

    def record(self, samples, kinds, on_progress):
        error = f"401: api_key={self.options.api_key} refused by {self.options.url}"
        errors = [None, *[error] * (len(samples) - 1)]
        traces = [Trace(seconds=0.1, error=e) for e in errors]
        scores = Scores({"values": np.full((len(samples), 1), 0.5)}, meta=META)
        return Recording(evidence={Scores: scores}, traces=traces)


@hookimpl
def safebench_classifiers():
    return [ClassifierSpec(
        name="service", load="service_plugin:Service", options="service_plugin:Options",
        provides={Scores}, tasks={"prompt_harm"}, default_strategy="score",
        summary="asks a service",
    )]
'''


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """Return the plugins with a classifier whose options hold secrets."""
    (tmp_path / "service_plugin.py").write_text(SERVICE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"text {i}", "label": "safe"} for i in range(6)]
    rows += [{"prompt": f"attack {i}", "label": "unsafe"} for i in range(6)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(text, encoding="utf-8")
    service = EntryPoint("service", "service_plugin", ENTRY_POINT_GROUP)
    return Plugins([*entry_points(group=ENTRY_POINT_GROUP), service])


def test_a_run_folder_holds_no_secret(
    plugins: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Configuration, command, identity, evidence, rows, predictions and messages."""
    options = "api_key=S3CRET,auth=S3CRET,url=https://me:S3CRET@host/v1"
    args = ["run", "-c", f"service,{options}", "-d", "rows.jsonl", "--out", "made"]
    monkeypatch.setattr("sys.argv", ["safebench", *args])

    result = CliRunner().invoke(cli, args, obj=plugins)

    assert 1 == result.exit_code, result.output  # too many samples failed
    assert "401: api_key=***" in result.output
    assert "S3CRET" not in result.output
    files = [path for path in (tmp_path / "made").rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"config.yaml", "manifest.json", "evidence.json", "results.jsonl"} <= names
    for path in files:
        assert b"S3CRET" not in unpacked(path), path
    manifest = json.loads((tmp_path / "made/manifest.json").read_text())
    assert "***" in json.dumps(manifest["identity"])
    assert "me:***@host" in json.dumps(manifest["commands"])


def unpacked(path: Path) -> bytes:
    """Return the bytes of a file, of the arrays in it if it is packed."""
    import numpy as np

    if path.suffix != ".npz":
        return path.read_bytes()
    with np.load(path) as stored:
        return b"".join(stored[name].tobytes() for name in stored.files)


@pytest.mark.slow
def test_another_key_goes_on_with_the_same_run(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret changes no evidence, so that a new one is no other run."""
    monkeypatch.setattr("sys.argv", ["safebench"])
    results = [
        CliRunner().invoke(
            cli,
            ["run", "-c", f"service,api_key={key}", "-d", "rows.jsonl", "--out", "a"],
            obj=plugins,
        )
        for key in ("one", "two")
    ]

    assert [1, 1] == [result.exit_code for result in results], results[1].output
    assert 1 == len(list(Path("a/evidence").iterdir()))


@pytest.mark.parametrize(
    ("args", "called"),
    [
        (["leaderboard"], "safebench.results.read_runs"),
        (["run", "-c", "keyword"], "safebench.pipeline.runner.Runner.run"),
        (["compare", "a", "b"], "safebench.results.selection.select_pairs"),
        (["analyze", "x"], "safebench.analysis.request.find_run"),
        (["overlap", "starter", "starter"], "safebench.datasets.loader.load_dataset"),
        (["doctor"], "safebench.provenance.package_versions"),
    ],
)
def test_every_command_ends_with_130_when_interrupted(
    args: list[str], called: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As documented, and as shells report it."""

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(called, interrupt)

    result: Result = CliRunner().invoke(cli, args, obj=Plugins())

    assert 130 == result.exit_code, result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe",
        b"",
        b"null",
        b"[]",
        b'{"kind": ',
        b"1" * 5_000,
    ],
)
def test_a_manifest_of_a_model_that_is_no_json_is_one_line(
    tmp_path: Path, content: bytes
) -> None:
    """Nested beyond what Python reads, cut, binary, or of another type."""
    (tmp_path / "safebench.json").write_bytes(content)

    with pytest.raises(ModelError) as caught:
        Artifact(tmp_path).manifest()

    line = r".*safebench\.json cannot be read: .{3,200}"
    assert re.fullmatch(line, caught.value.message)


@pytest.mark.parametrize("name", ["api_key", "passwd", "auth", "credentials"])
def test_what_a_plugin_raises_names_no_secret(name: str) -> None:
    """It is printed, and stored as the note of a number that is missing."""
    assert f"ValueError: no {name}='***' here" == describe_error(
        ValueError(f"no {name}='S3CRET' here")
    )


CALM = ["run", "-c", "slow,pause=0.005", "--limit", "120", "--shard-size", "20"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_a_run_in_order(
    install: Callable[..., Any], name: str, code: int
) -> None:
    """As Ctrl-C does: one notice, a manifest that says so, and a run that goes on."""
    slow = install("slow_guard")
    hold = slow.cwd / "hold"
    hold.write_text("2\n", encoding="utf-8")
    # the tests themselves may run under nohup, which children inherit
    heeding = (
        f"import os, signal, sys; signal.signal(signal.{name}, signal.SIG_DFL); "
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", heeding, "-m", "safebench", *CALM, "--out", "run"],
        env=os.environ | {"PYTHONPATH": str(slow.site), "OMP_NUM_THREADS": "1"},
        cwd=slow.cwd,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(slow.cwd.glob("run/evidence/*/main/*.npz")):
        assert process.poll() is None
        time.sleep(0.01)

    process.send_signal(getattr(signal, name))

    _, told = process.communicate(timeout=240)
    hold.unlink()
    manifest = json.loads((slow.cwd / "run" / "manifest.json").read_text())
    again = slow.safebench(*CALM, "--out", "run")
    assert code == process.returncode
    assert "repeat the command to go on" in told
    assert "Traceback" not in told
    assert "interrupted" == manifest["status"]
    assert 0 == again.returncode, again.stderr
    assert "of 120 samples already done" in again.stderr


@pytest.mark.slow
def test_a_signal_that_the_caller_ignores_is_ignored(
    install: Callable[..., Any],
) -> None:
    """A run under nohup outlives its terminal."""
    slow = install("slow_guard")
    hold = slow.cwd / "hold"
    hold.write_text("2\n", encoding="utf-8")
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", ignoring, "-m", "safebench", *CALM, "--out", "run"],
        env=os.environ | {"PYTHONPATH": str(slow.site), "OMP_NUM_THREADS": "1"},
        cwd=slow.cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not list(slow.cwd.glob("run/evidence/*/main/*.npz")):
        assert process.poll() is None
        time.sleep(0.01)

    process.send_signal(signal.SIGHUP)
    hold.unlink()

    assert 0 == process.wait(timeout=240)


def test_a_command_seldom_looks_for_garbage_among_all_objects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Libraries are many objects that stay; the young are looked at as ever."""
    before = gc.get_threshold()
    thresholds = []
    fake = SimpleNamespace(main=lambda: thresholds.append(gc.get_threshold()))
    monkeypatch.setitem(sys.modules, "safebench.cli", fake)
    try:
        main()
    finally:
        gc.set_threshold(*before)

    assert [(*before[:2], 200)] == thresholds


def test_an_interrupt_while_modules_are_imported_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing of the command line is there yet that could catch it."""

    class Interrupted:
        def __getattr__(self, name: str) -> NoReturn:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "safebench.cli", Interrupted())

    with pytest.raises(SystemExit) as end:
        main()

    assert 130 == end.value.code
