"""What `list` says of components: plain lines, and JSON whose keys stay."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.plugins import ENTRY_POINT_GROUP, Plugins


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
