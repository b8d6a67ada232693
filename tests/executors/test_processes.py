"""Worker processes for real: killed, unable to load, closed in the middle."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import ModelError, OptionError, PluginError
from safebench.evidence import Scores
from safebench.executors import ClassifierJob, Shard
from safebench.executors.gpus import gpu_shares, visible_gpus
from safebench.executors.processes import ProcessExecutor, ProcessOptions, ending
from safebench.records import Sample, Turn
from safebench.specs import ClassifierSpec
from safebench.testing import assert_executor_is_sound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GUARD = '''
"""A guard whose samples say what its process does."""
import os, signal, time
from pathlib import Path
import numpy as np
from safebench.classifiers import Classifier, Recording, Trace
from safebench.evidence import Scores

HERE = Path(__file__).parent


class Guard(Classifier):
    def __init__(self, options):
        if (HERE / "no_model").exists():
            raise OSError("weights are not there")

    @property
    def facts(self):
        return {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "none")} if (
            HERE / "tell_gpus").exists() else {}

    def record(self, samples, kinds, on_progress):
        for sample in samples:
            with (HERE / "log").open("a") as log:
                log.write(f"{os.getpid()} {sample.id}\\n")
            once = HERE / "died"
            if sample.judged.text == "die" and not once.exists():
                once.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if sample.judged.text == "die always":
                os.kill(os.getpid(), signal.SIGKILL)
            if sample.judged.text == "wait":
                time.sleep(60)
            print("\\x1b[31mprinted by a guard")
            on_progress(1)
        values = np.array([[len(s.judged.text)] for s in samples], dtype=float)
        meta = {"labels": ["long"], "scale": "score"}
        scores = Scores({"values": values}, meta=meta)
        return Recording(evidence={Scores: scores}, traces=[Trace() for _ in samples])
'''


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClassifierJob]:
    """Return the job of a guard whose module lies in the test's folder."""
    (tmp_path / "process_guard.py").write_text(GUARD, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = ClassifierSpec(
        name="g", load="process_guard:Guard", provides=frozenset({Scores})
    )
    yield ClassifierJob.of(spec, None, n_at_once=2)
    sys.modules.pop("process_guard", None)


def shards(*texts: str) -> list[Shard]:
    """Return a shard of two samples for each text, which both of them have."""
    return [
        Shard(
            number,
            [Sample(id=f"{number}.{i}", turns=(Turn("user", text),)) for i in (0, 1)],
            frozenset({Scores}),
        )
        for number, text in enumerate(texts)
    ]


def start(job: ClassifierJob, log: Any = print, **options: Any) -> Any:
    """Return workers of the executor."""
    return ProcessExecutor(ProcessOptions(**options)).start(job, log)


@pytest.mark.slow
def test_processes_keep_the_contract_of_executors() -> None:
    """Equal to what this process records, in two calls, errors included."""
    assert_executor_is_sound(ProcessExecutor(ProcessOptions(workers=2)))


@pytest.mark.slow
def test_a_killed_process_costs_its_shard_alone(
    job: ClassifierJob, tmp_path: Path
) -> None:
    """The samples of the others are recorded once, and the result is whole."""
    lines: list[str] = []
    workers = start(job, lines.append, workers=2)
    done = list(workers.record(shards("a", "die", "bb", "ccc"), lambda _: None))
    workers.close()
    values = {d.number: d.recording.evidence[Scores]["values"][0, 0] for d in done}
    assert values == {0: 1, 1: 3, 2: 2, 3: 3}
    log = (tmp_path / "log").read_text().splitlines()
    times = Counter(line.split()[1] for line in log)
    assert times == {**dict.fromkeys(times, 1), "1.0": 2}
    assert len(times) == 8
    assert len(lines) == 1
    assert "was ended by SIGKILL" in lines[0]
    assert lines[0].endswith("its 2 samples are recorded again")


@pytest.mark.slow
def test_samples_that_end_every_process_end_the_work(job: ClassifierJob) -> None:
    """After three of them, with the others' shards kept."""
    workers = start(job, workers=1)
    recording = workers.record(shards("a", "die always", "b"), lambda _: None)
    assert next(recording).number == 0
    with pytest.raises(ModelError, match="3 workers were lost on the same 2 samples"):
        next(recording)
    workers.close()


@pytest.mark.slow
def test_a_model_that_cannot_load_is_one_line(
    job: ClassifierJob, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The plugin's error as in the process of the run, and no traceback of a worker."""
    (tmp_path / "no_model").touch()
    with pytest.raises(PluginError, match=r"classifier 'g'.*weights are not there"):
        start(job, workers=2)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_an_interruption_in_a_shard_leaves_no_process(
    job: ClassifierJob, tmp_path: Path
) -> None:
    """Closed as after Ctrl-C, workers are gone at once, whatever they were doing."""
    workers = start(job, workers=1)
    (worker,) = workers.launcher.processes
    workers.launcher.submit(worker, shards("wait")[0])
    log, deadline = tmp_path / "log", time.monotonic() + 240
    while not log.exists() or not log.read_text().endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pid = int((tmp_path / "log").read_text().splitlines()[-1].split()[0])
    workers.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.slow
def test_each_worker_has_gpus_of_its_own(
    job: ClassifierJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those that the run sees, by the names that it has for them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7,9")
    (tmp_path / "tell_gpus").touch()
    # other GPUs are other facts here, so that the second worker is refused by its own
    workers = start(replace(job, n_at_once=1), gpus_per_worker=2)
    assert workers.facts == {"gpus": "3,5"}
    with pytest.raises(ModelError, match=r"gpus is '3,5' on one and '7,9' on worker 2"):
        list(workers.record(shards("a", "b", "c", "d", "wait"), lambda _: None))
    workers.close()


@pytest.mark.parametrize(
    ("variable", "gpus"),
    [("", []), ("1", ["1"]), ("0,1", ["0", "1"]), ("-1", []), ("2,-1,3", ["2"])],
)
def test_gpus_are_those_that_cuda_would_show(
    variable: str, gpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA reads its variable up to the first name that is none."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus() == gpus


def test_gpus_are_shared_out_whole() -> None:
    """Five GPUs are two pairs; three a worker of two GPUs are refused."""
    assert gpu_shares(list("abcde"), 2) == [["a", "b"], ["c", "d"]]
    assert gpu_shares(["a", "b"], None) == [["a"], ["b"]]
    assert gpu_shares([], None) == []
    with pytest.raises(OptionError, match="gpus_per_worker=1: this process sees 0"):
        gpu_shares([], 1)
    with pytest.raises(OptionError, match="gpus_per_worker=3: this process sees 2"):
        gpu_shares(["a", "b"], 3)


def test_a_classifier_on_one_named_gpu_is_refused(
    job: ClassifierJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker sees its own GPU as the first: cuda:1 would be no one's."""

    @dataclass
    class Options:
        """Of a classifier that names a GPU."""

        device: str = "cuda:1"

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(OptionError, match=r"device=cuda:1 names one GPU.*device=cuda$"):
        start(replace(job, options=Options()), workers=2)


def test_how_a_process_ended_is_said_in_words() -> None:
    """An exit code, a signal by its name, and what usually sends it."""
    assert ending(3) == "ended with exit code 3"
    assert ending(-signal.SIGSEGV) == "was ended by SIGSEGV"
    assert "memory runs out" in ending(-signal.SIGKILL)
