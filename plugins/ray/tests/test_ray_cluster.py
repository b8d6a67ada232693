"""A real cluster of this machine: what is recorded, lost, refused and left behind.

Ray's traffic stays in a network of the test's own, its files in a folder of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ISOLATE = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


def why_not() -> str:
    """Say why no cluster can be had here, "" if it can."""
    if find_spec("ray") is None:
        return "ray is not installed (make test-ray makes an environment with it)"
    if shutil.which("unshare") is None:
        return "there is no unshare, which keeps Ray's traffic on loopback"
    probe = subprocess.run([*ISOLATE, "true"], capture_output=True, check=False)
    if probe.returncode:
        return "unshare --net is refused here: Ray's traffic could leave the machine"
    return ""


REASON = why_not()
pytestmark = [
    pytest.mark.skipif(bool(REASON), reason=REASON or "it can"),
    pytest.mark.slow,
]

# in one session of Ray, which takes seconds to start
HEAD = """
import os, signal, subprocess, sys, threading, time
import numpy as np
from safebench.classifiers import Classifier, Recording, Trace
from safebench.errors import ModelError, OptionError, PluginError
from safebench.evidence import Scores
from safebench.executors import ClassifierJob, Shard
from safebench.records import Sample, Turn
from safebench.specs import ClassifierSpec
from safebench.testing import assert_executor_is_sound
from safebench_ray.executor import RayExecutor
from safebench_ray.options import RayOptions

handler = signal.getsignal(signal.SIGTERM)
executor = RayExecutor(RayOptions(workers=2))
lines = []


def job(name):
    spec = ClassifierSpec(
        name=name, load=f"ray_guards:{name}", provides=frozenset({Scores})
    )
    return ClassifierJob.of(spec, None, n_at_once=2)


def shards(*texts):
    return [
        Shard(n, [Sample(id=f"{n}.{i}", turns=(Turn("user", t),)) for i in (0, 1)],
              frozenset({Scores}))
        for n, t in enumerate(texts)
    ]

"""
SCRIPT = """
workers = executor.start(job("Dying"), lines.append)
counts = []
done = list(workers.record(shards("a", "die", "bb", "ccc"), counts.append))
workers.close()
values = {d.number: d.recording.evidence[Scores]["values"][0, 0] for d in done}
assert values == {0: 1, 1: 3, 2: 2, 3: 3}, values
assert sum(counts) == 8, counts
assert {d.n_workers for d in done} <= {1, 2}, done
losses = [line for line in lines if "was lost" in line]
assert len(losses) == 1 and losses[0].endswith("recorded again"), lines
assert "its process has ended" in losses[0], losses
print("LOSS OK")

try:
    executor.start(job("Unloadable"), lines.append)
except PluginError as error:
    assert "weights are not there" in error.message, error
    assert "Traceback" not in error.message and "\\n" not in error.message, error
else:
    raise AssertionError("it was loaded")
print("LOADING OK")

try:
    RayExecutor(RayOptions(gpus_per_worker=1)).start(job("Dying"), lines.append)
except OptionError as error:
    assert "gpus_per_worker=1, and the cluster has 0 GPUs" in error.message, error
else:
    raise AssertionError("it waits for a GPU for ever")
print("GPUS OK")

try:
    narrow = RayExecutor(RayOptions(cpus_per_worker=64, wait=1.5))
    narrow.start(job("Dying"), lines.append)
except ModelError as error:
    assert "no room for an actor (num_cpus=64) for 1.5 s" in error.message, error
else:
    raise AssertionError("it waits for cores for ever")
print("ROOM OK")

workers = executor.start(job("Threads"), lines.append)
(done,) = workers.record(shards("a"), lambda n: None)
assert done.recording.traces[0].raw == os.environ["OMP_NUM_THREADS"], done
workers.close()
print("THREADS OK")

assert_executor_is_sound(executor)  # closes it
import ray
assert not ray.is_initialized()
assert signal.getsignal(signal.SIGTERM) is handler
print("KIT OK")
"""
MACHINE = """
workers = executor.start(job("Machine"), lines.append)
workers.launcher.wait = 1.5
try:
    list(workers.record(shards("a"), lambda n: None))
except ModelError as error:
    assert "no machine of the cluster is left" in error.message, error
else:
    raise AssertionError("a cluster without machines recorded")
workers.close()
executor.close()
assert any(line.endswith("recorded again") for line in lines), lines
print("MACHINE OK")
"""
GUARDS = """
import os, signal
from pathlib import Path
import numpy as np
from safebench.classifiers import Classifier, Recording, Trace
from safebench.evidence import Scores


class Dying(Classifier):
    def record(self, samples, kinds, on_progress):
        for sample in samples:
            marker = Path(__file__).parent / "died"
            if sample.judged.text == "die" and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            on_progress(1)
        values = np.array([[len(s.judged.text)] for s in samples], dtype=float)
        scores = Scores({"values": values}, meta={"labels": ["n"], "scale": "score"})
        raw = os.environ["OMP_NUM_THREADS"]
        traces = [Trace(raw=raw) for _ in samples]
        return Recording(evidence={Scores: scores}, traces=traces)


class Threads(Dying):
    pass


class Machine(Dying):
    def record(self, samples, kinds, on_progress):
        os.kill(os.getppid(), signal.SIGKILL)  # the raylet: Ray's end of the machine
        signal.pause()


class Unloadable(Dying):
    def __init__(self, options):
        raise OSError("weights are not there")
"""


@pytest.fixture
def isolated(tmp_path: Path) -> Iterator[Any]:
    """Return what runs Python in a network and a home of its own."""
    # short: the names of Ray's sockets must not be long
    home = tempfile.mkdtemp(prefix="sbr", dir="/tmp")

    def python(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*ISOLATE, sys.executable, *args],
            cwd=tmp_path,
            env={**os.environ, "HOME": home, "OMP_NUM_THREADS": "1",
                 "RAY_TMPDIR": home, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )  # fmt: skip

    yield python
    shutil.rmtree(home, ignore_errors=True)


def test_actors_keep_the_contract_of_executors(isolated: Any, tmp_path: Path) -> None:
    """One session: a killed actor, one that cannot load, no GPU, no room, the kit."""
    (tmp_path / "ray_guards.py").write_text(GUARDS, encoding="utf-8")
    (tmp_path / "session.py").write_text(HEAD + SCRIPT, encoding="utf-8")
    result = isolated("session.py", PYTHONPATH=str(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr
    steps = [line for line in result.stdout.splitlines() if line.endswith(" OK")]
    assert len(steps) == 6


def test_a_cluster_whose_last_machine_died_ends_the_run(
    isolated: Any, tmp_path: Path
) -> None:
    """Nothing is waited for then: what is recorded is kept, and the message says it."""
    (tmp_path / "ray_guards.py").write_text(GUARDS, encoding="utf-8")
    (tmp_path / "session.py").write_text(HEAD + MACHINE, encoding="utf-8")
    result = isolated("session.py", PYTHONPATH=str(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "MACHINE OK" in result.stdout


def test_a_run_on_two_actors_writes_the_bytes_of_one_process(
    isolated: Any, tmp_path: Path
) -> None:
    """Through the command line; rows differ in time and memory alone."""
    rows = [{"prompt": f"how do I kill process {i}", "label": i % 2} for i in range(18)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(text, encoding="utf-8")
    run = ["-m", "safebench", "run", "-c", "keyword", "-d", "rows.jsonl"]
    run += ["--shard-size", "4", "--out"]
    local = isolated(*run, "local")
    remote = isolated(*run, "remote", "--executor", "ray", "--workers", "2")
    assert local.returncode == 0, local.stderr
    assert remote.returncode == 0, remote.stderr
    predictions = [
        {
            p.name: p.read_bytes()
            for p in (tmp_path / out).rglob("predictions/**/*.jsonl")
        }
        for out in ("local", "remote")
    ]
    assert predictions[0]
    assert predictions[0] == predictions[1]
    stored = [
        [
            json.loads(line)
            for line in (tmp_path / out / "results.jsonl").read_text().splitlines()
        ]
        for out in ("local", "remote")
    ]
    timed = {"seconds", "samples_per_second", "peak_memory_mib", "latency_mode", "run"}
    for first, second in zip(*stored, strict=True):
        assert {k for k in first if first[k] != second[k]} <= timed
    manifest = json.loads((tmp_path / "remote" / "manifest.json").read_text())
    assert manifest["executor"] == {"name": "ray", "options": {"workers": 2}}
    assert manifest["models"]["keyword"]["workers"] == 2


def test_a_cluster_that_is_not_there_is_one_message(isolated: Any) -> None:
    """An address that nobody answers at ends the run with 2, and what would work."""
    result = isolated(
        "-m", "safebench", "run", "-c", "keyword", "--limit", "4", "--executor", "ray",
        "--address", "127.0.0.1:6399",
    )  # fmt: skip
    assert result.returncode == 2, result.stderr
    assert "executor 'ray': no cluster answers at 127.0.0.1:6399" in result.stderr
    assert "ray start --head" in result.stderr
    assert "Traceback" not in result.stderr
