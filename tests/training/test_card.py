"""Model cards: from what an artifact knows, and with what its user wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from safebench import Plugins
from safebench.cli import cli
from safebench.training import Artifact
from safebench.training.licences import (
    Licensed,
    licence_id,
    licences_of_data,
    model_licence,
    strictest,
)
from safebench.training.local_paths import local_path_in, without_paths

MANIFEST: dict[str, Any] = {
    "kind": "tfidf",
    "trainer": "bert_ensemble",
    "status": "done",
    "task": "prompt_harm",
    "dataset": {
        "sources": [
            {"name": "toxic_chat", "part": "train", "split": "train", "rows": 70},
            {"name": "xstest", "part": "train", "rows": 30},
        ]
    },
    "metrics": {
        "val": {"tfidf": {"f1": {"value": 0.9}}},
        "test": {
            "tfidf": {"f1": {"value": 0.5, "low": 0.25, "high": 0.75, "n": 20}},
            "other": {"f1": {"value": None, "note": "a <b> | c"}},
        },
    },
    "versions": {"python": "3.11"},
    "commands": [["safebench", "train", "--out", "/home/me/secret/mine"]],
}


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return what is installed."""
    return Plugins()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a finished artifact."""
    Artifact(tmp_path / "mine").write(MANIFEST)
    return tmp_path / "mine"


def card(folder: Path, plugins: Plugins, *flags: str) -> Any:
    """Run the command."""
    return CliRunner().invoke(cli, ["card", str(folder), *flags], obj=plugins)


def front_matter(folder: Path) -> dict[str, Any]:
    """Return what the hub reads."""
    text = (folder / "README.md").read_text()
    return dict(yaml.safe_load(text.split("---\n")[1]))


def test_a_card_says_what_the_manifest_says(folder: Path, plugins: Plugins) -> None:
    """The strictest licence of its data, measures with interval and n, and no path."""
    result = card(folder, plugins)

    assert 0 == result.exit_code, result.output
    text = (folder / "README.md").read_text()
    keys = front_matter(folder)
    assert "cc-by-nc-4.0" == keys["license"]
    assert ["lmsys/toxic-chat", "walledai/XSTest"] == keys["datasets"]
    (result,) = keys["model-index"][0]["results"]
    assert [0.5] == [metric["value"] for metric in result["metrics"]]
    assert "| test | tfidf | f1 | 0.500 | [0.250, 0.750] | 20 |" in text
    assert "| val |" not in text  # on which choices were made
    assert r"(1) a &lt;b> \| c" in text
    assert (
        "the strictest that is known is cc-by-nc-4.0 (toxic_chat), which forb" in text
    )
    assert "$ safebench train --out mine" in text
    assert "/home" not in text


def test_what_its_user_wrote_survives(folder: Path, plugins: Plugins) -> None:
    """Text and keys between the marks; a key of theirs stands once."""
    card(folder, plugins)
    path = folder / "README.md"
    text = path.read_text()
    text = text.replace("# yours: begin keys\n", "# yours: begin keys\nlicense: mit\n")
    begin = "<!-- yours: begin notes -->\n"
    path.write_text(text.replace(begin, begin + "Ask *Ann* first.\n"))
    Artifact(folder).write(MANIFEST | {"task": "response_harm"})

    result = card(folder, plugins, "--name", "org/other")

    assert 0 == result.exit_code, result.output
    text = path.read_text()
    assert "Ask *Ann* first.\n" in text
    assert "# org/other" in text
    assert "whether a response is harmful" in text
    assert "mit" == front_matter(folder)["license"]
    assert 1 == text.count("license:")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text.replace("# mine", "# My guard"),
            "was edited outside of the",
        ),
        (lambda _: "# My own card\n", "is not from safebench card"),
        (lambda text: text.replace("keys\n", "keys\na: [\n", 1), "are no YAML"),
        (lambda text: text.replace("keys\n", "keys\nmit\n", 1), "no key: value"),
    ],
    ids=["edited", "own", "yaml", "keys"],
)
def test_a_card_that_was_edited_elsewhere_is_not_replaced(
    change: Any, message: str, folder: Path, plugins: Plugins
) -> None:
    """Only where its user says so."""
    card(folder, plugins)
    path = folder / "README.md"
    path.write_text(change(path.read_text()))
    before = path.read_bytes()

    refused = card(folder, plugins)

    assert 2 == refused.exit_code
    assert message in refused.output
    assert before == path.read_bytes()
    assert [] != Artifact(folder).write_card(plugins)  # a training goes on
    assert 0 == card(folder, plugins, "--overwrite").exit_code


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, "no folder"),
        ({}, "is unfinished"),
        ({"status": "done", "trainer": "bert_ensembel"}, "did you mean"),
        ({"status": "done", "trainer": "cost_model", "kind": "cost_model"}, "KeyError"),
    ],
    ids=["none", "unfinished", "unknown", "damaged"],
)
def test_what_is_no_artifact_is_one_line(
    manifest: dict[str, Any] | None, message: str, tmp_path: Path, plugins: Plugins
) -> None:
    """And says what would work."""
    if manifest is not None:
        Artifact(tmp_path / "x").write(manifest)

    result = card(tmp_path / "x", plugins)

    assert result.exit_code in (1, 2)
    assert message in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("text", "shortened"),
    [
        ("/home/me/data/rows.jsonl", "rows.jsonl"),
        ("--out=/home/me/my models/x", "--out=my models/x"),
        ("model=/a/b,revision=c", "model=b,revision=c"),
        ("file:///home/me/x", "x"),
        (r"C:\Users\me\x", "x"),
        ("~/data/x", "x"),
        ("70/15/15 and/or https://a.b/c org/name", None),
        ("the file 'a/b' at ./c/d", None),
        ('{"between": "\\n\\nAnswer: "}', None),
    ],
)
def test_paths_are_shortened_and_nothing_else(text: str, shortened: str | None) -> None:
    """In words of a command, keys and prose; what only looks like one stays."""
    assert {"a": [shortened or text]} == without_paths({"a": [text]})
    found = local_path_in(text, Path("/nowhere/at/all"))
    assert bool(found) == (shortened is not None)


def test_a_gated_set_is_named(plugins: Plugins) -> None:
    """Its licence does not say what whoever read it has accepted."""
    wild, toxic = licences_of_data(
        [{"name": "wildguardmix:train"}, {"id": "lmsys/toxic-chat"}], plugins
    )

    assert ("ODC-BY", "odc-by") == (wild.stated, wild.id)
    assert "it is gated" in wild.asks
    assert ("cc-by-nc-4.0", "") == (toxic.id, toxic.asks)


def test_the_strictest_licence_is_found() -> None:
    """By what it asks; one that is not known makes the whole unknown."""
    by, nc, mit = (
        Licensed(name, name, licence_id(name))
        for name in ("CC-BY-4.0", "CC-BY-NC-4.0", "MIT")
    )
    llama = Licensed("Llama-3.2-1B", "llama3.2", "llama3.2", "a notice")
    unknown = Licensed("x", "see the card", licence_id("see the card"))

    assert nc == strictest([mit, nc, by, unknown])
    assert ("", "commercial use") == (by.forbids, nc.forbids)
    assert "cc-by-4.0" == model_licence([mit, by])
    assert "unknown" == model_licence([mit, unknown])
    assert "llama3.2" == model_licence([by, llama])
    assert "unknown" == model_licence([nc, llama])
    assert "unknown" == model_licence([])
