"""What `list` says of components: plain lines, and JSON whose keys stay."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.cli.dataset_table import table_lines
from safebench.plugins import ENTRY_POINT_GROUP, Plugins
from safebench.training.artifact import Artifact

if TYPE_CHECKING:
    from pathlib import Path
from safebench.specs import DatasetSpec


@pytest.fixture(scope="module")
def core() -> Plugins:
    """Return the core's components without those of installed plugins."""
    return Plugins([EntryPoint("core", "safebench.core_plugin", ENTRY_POINT_GROUP)])


def records(plugins: Plugins, kind: str) -> dict[str, dict[str, Any]]:
    """Return the lines of `list KIND --json` by name."""
    result = CliRunner().invoke(cli, ["list", kind, "--json"], obj=plugins)
    assert 0 == result.exit_code, result.output
    lines = map(json.loads, result.stdout.splitlines())
    return {line["name"]: line for line in lines}


def test_json_has_the_keys_of_the_first_version(core: Plugins) -> None:
    """Scripts read them: a field of a spec that was renamed keeps its key."""
    classifier = records(core, "classifiers")["keyword"]
    strategy = records(core, "strategies")["score"]

    assert "target" == classifier["asks"]
    assert ["Scores"] == classifier["provides"]
    assert {"decision_from", "record_as", "variants", "tune"} <= strategy.keys()
    assert "decision_fallback" not in strategy


def test_where_code_is_found_is_not_listed(core: Plugins) -> None:
    """Options are there with their defaults, the modules behind them are not."""
    classifier = records(core, "classifiers")["keyword"]

    assert "saturation" in classifier["options"]
    assert {"load", "identity", "doctor"}.isdisjoint(classifier)


def test_text_leaves_out_what_is_empty(core: Plugins) -> None:
    """A line a field that says something, below the name and the summary."""
    text = CliRunner().invoke(cli, ["list", "strategies"], obj=core).stdout

    assert text.startswith("score  (core)\n  the classifier's own score, as it is\n")
    assert "  emits: categories, probability, score\n" in text
    assert "variants" not in text


def test_what_is_known_of_a_public_set_is_listed(core: Plugins) -> None:
    """Its columns, where they were read, and what a number on it does not say."""
    datasets = records(core, "datasets")

    wildguard = datasets["wildguardmix"]
    assert {"test": 1725, "train": 86759} == wildguard["rows"]
    assert wildguard["columns"]
    assert wildguard["sources"]
    assert wildguard["untold"]
    assert {"card", "recipe"}.isdisjoint(wildguard)
    assert "rows" not in datasets["jsonl"]


def test_data_sets_are_a_line_each(core: Plugins) -> None:
    """Rows as in `--json`, whole names, and who answers the task."""
    text = CliRunner().invoke(cli, ["list", "datasets"], obj=core).stdout
    known = records(core, "datasets")
    lines = {line.split()[0]: line for line in text.splitlines() if line[:2] == "  "}

    assert known.keys() <= lines.keys()
    assert "1,725  ODC-BY" in lines["wildguardmix"]
    assert lines["wildguardmix"].endswith("gated")
    assert [] == [line for line in text.splitlines() if len(line) > 80]
    assert "prompt_harm, judged by keyword\n" in text
    assert "groundedness, judged by no classifier here\n" in text
    _, _, own = text.partition("of any task, as its rows or task=TASK say\n")
    assert {"csv", "jsonl"} <= {line.split()[0] for line in own.splitlines() if line}


def test_a_long_name_of_a_data_set_is_whole() -> None:
    """What a user types stands on a line of its own, its numbers below."""
    name = "a" * 70
    text = "\n".join(table_lines([DatasetSpec(name=name, load="x:y")], []))

    assert f"  {name}\n" in text
    assert max(map(len, text.splitlines())) <= 80


def test_what_was_trained_here_is_named_beside_its_classifier(
    core: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is typed, on standard error: scripts read the components."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "models" / "of mine"
    folder.mkdir(parents=True)
    Artifact(folder).write({"kind": "keyword", "status": "done"})

    result = CliRunner().invoke(cli, ["list", "classifiers"], obj=core)

    assert "trained here: -c keyword --model 'models/of mine'\n" in result.stderr
    assert "trained here" not in result.stdout


def test_what_runs_measure_is_listed_as_metrics(core: Plugins) -> None:
    """Latencies are columns of the leaderboard, and rows of no installed metric."""
    listed = records(core, "metrics")
    by_name = CliRunner().invoke(cli, ["list", "metrics", "latency_P95"], obj=core)
    names = CliRunner().invoke(cli, ["list"], obj=core).stdout

    assert [*listed] == sorted(listed)
    assert listed["auroc"].keys() == listed["latency_p50"].keys()
    assert by_name.stdout.startswith("latency_p95  (core)\n  seconds for one sample")
    assert "kendall_tau_b, latency_p50, latency_p95, macro_auprc" in names
