"""Which executor records, and what is refused before anything loads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from safebench.classifiers import Recording
from safebench.classifiers.keyword import KeywordOptions
from safebench.cli import cli
from safebench.errors import PluginError
from safebench.evidence import Scores
from safebench.executors import ClassifierJob, Executor, Shard, Workers
from safebench.executors.local import LocalExecutor
from safebench.pipeline.config import RunConfig
from safebench.pipeline.executor import RunExecutor, choose_executor
from safebench.plugins import Plugins
from safebench.records import Sample, Turn
from safebench.specs import ClassifierSpec, ExecutorSpec

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = [
    {"prompt": f"how do I {'kill' if i % 3 else 'bake'} it, number {i}", "label": i % 2}
    for i in range(14)
]


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return all that is installed."""
    return Plugins()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugins: Plugins) -> Any:
    """Return what runs the keyword guard on 14 rows with more arguments."""
    monkeypatch.chdir(tmp_path)
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    Path("rows.jsonl").write_text(text, encoding="utf-8")

    def with_arguments(*args: str) -> Result:
        words = ["run", "-c", "keyword", "-d", "rows.jsonl", *args]
        return CliRunner().invoke(cli, words, obj=plugins)

    return with_arguments


def test_unknown_executor_names_the_nearest(run: Any) -> None:
    """A name that is nearly right costs no run folder."""
    result = run("--executor", "proceses")
    assert result.exit_code == 2
    assert "unknown executor 'proceses'; did you mean 'processes'?" in result.output
    assert not Path("runs").exists()


def test_options_of_another_executor_are_refused_with_the_one_that_has_them(
    run: Any,
) -> None:
    """Of `--workers` without an executor nobody hears anything otherwise."""
    result = run("--workers", "4")
    assert result.exit_code == 2
    assert "--workers: the executor 'local' has no such option" in result.output
    assert "--executor processes" in result.output


def test_a_run_file_may_name_the_executor_as_text_or_mapping(run: Any) -> None:
    """As other components, and options are checked in the same way."""
    Path("run.yaml").write_text("executor: {name: processes, wokers: 2}\n")
    result = run("--config", "run.yaml")
    assert result.exit_code == 2
    assert "no option 'wokers'; did you mean 'workers'?" in result.output
    Path("run.yaml").write_text("executor: local\n")
    assert run("--config", "run.yaml", "--out", "out").exit_code == 0
    manifest = json.loads(Path("out/manifest.json").read_text())
    assert manifest["executor"] == {"name": "local", "options": {}}


@pytest.mark.slow
def test_two_processes_write_the_bytes_of_one(run: Any) -> None:
    """Predictions are equal to the byte, and times say how many workers they are of."""
    assert run("--out", "one", "--shard-size", "4").exit_code == 0
    args = ("--executor", "processes", "--workers", "2", "--shard-size", "4")
    result = run("--out", "two", *args)
    assert result.exit_code == 0, result.output
    first, second = (
        {p.relative_to(top).as_posix(): p.read_bytes() for p in top.rglob("*.jsonl")}
        for top in (Path("one/predictions"), Path("two/predictions"))
    )
    assert first == second
    assert first
    manifest = json.loads(Path("two/manifest.json").read_text())
    assert manifest["executor"] == {"name": "processes", "options": {"workers": 2}}
    assert manifest["models"]["keyword"]["workers"] == 2
    lines = Path("two/results.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert {row["latency_mode"] for row in rows} == {"batched, 2 workers"}


class Odd(Executor):
    """An executor that does with shards what its option says."""

    def start(self, job: ClassifierJob, log: Callable[[str], None]) -> Workers:
        """Load the classifier here."""
        workers = LocalExecutor().start(job, log)
        record, mode = workers.record, self.options

        def recorded(shards: Any, on_progress: Any) -> Any:
            done = list(record(shards, on_progress))
            first = done[0]
            none = Recording(evidence={}, traces=first.recording.traces)
            yield from {
                "loses": done[1:],
                "repeats": [*done, first],
                "makes up": [replace(first, number=99), *done],
                "cuts": [replace(first, recording=none), *done[1:]],
                "raises": map(int, ["no number"]),
            }[mode]

        workers.record = recorded  # type: ignore[method-assign]
        return workers


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("loses", "1 shards were never recorded"),
        ("repeats", "shard 0 was not sent, or came twice"),
        ("makes up", "shard 99 was not sent"),
        ("cuts", "shard 0 did not come back whole"),
        ("raises", "ValueError: invalid literal"),
    ],
)
def test_an_executor_that_breaks_its_contract_is_named(mode: str, message: str) -> None:
    """Nothing is stored that is not whole, and nothing is missing in silence."""
    spec = ExecutorSpec(name="odd", load=f"{__name__}:Odd")
    workers = _odd(spec, mode).start(_keyword(), print)
    with pytest.raises(PluginError, match=f"executor 'odd'.*{message}"):
        list(workers.record(_shards(), lambda _: None))


def test_what_must_be_one_process_is_recorded_here(plugins: Plugins) -> None:
    """A service counts its own requests: under every executor, and the log says why."""
    lines: list[str] = []
    config = RunConfig(executor="processes", workers=4)
    executor = choose_executor(config, plugins)
    workers = executor.start(_keyword(), lines.append, "it counts requests")
    assert [done.n_workers for done in workers.record(_shards(), print)] == [1, 1]
    assert lines == [
        "keyword: recorded in one process, not by processes: it counts requests"
    ]


def _odd(spec: ExecutorSpec, mode: str) -> RunExecutor:
    executor = object.__new__(RunExecutor)
    executor.spec, executor.executor = spec, Odd(mode)
    return executor


def _keyword() -> ClassifierJob:
    spec = ClassifierSpec(
        name="keyword",
        load="safebench.classifiers.keyword:Keyword",
        provides=frozenset({Scores}),
    )
    return ClassifierJob.of(spec, KeywordOptions())


def _shards() -> list[Shard]:
    samples = [Sample(id="s", turns=(Turn("user", "kill it"),))]
    return [Shard(number, samples, frozenset({Scores})) for number in (0, 1)]
