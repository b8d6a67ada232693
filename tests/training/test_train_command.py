"""`safebench train` from the command line to an artifact that a run can load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench.cli import cli

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

    from safebench.plugins import Plugins

    Train = Callable[..., Result]
    Manifest = Callable[[str], dict[str, Any]]


@pytest.mark.slow
def test_an_artifact_is_loaded_by_a_run(install: Callable[..., Any]) -> None:
    """With an installed plugin: train, then the command it says is next."""
    site = install("word_trainer")

    trained = site.safebench("train", "words", "--members", "3", "--out", "m")
    run = site.safebench("run", "-c", "words", "--model", "m", "--out", "r")

    assert 0 == trained.returncode, trained.stderr
    assert "next: safebench run -c words --model m" in trained.stdout
    assert "ensemble  test  accuracy" in trained.stdout
    assert 0 == run.returncode, run.stderr
    rows = map(json.loads, (site.cwd / "r" / "results.jsonl").read_text().splitlines())
    auroc = next(row["value"] for row in rows if row["metric"] == "auroc")
    assert auroc > 0.6


@pytest.mark.slow
def test_the_manifest_says_what_was_done(train: Train, manifest: Manifest) -> None:
    """Status, kind, counts of each part, options, versions, commands, measures."""
    result = train("words", "--members", "3", "--seed", "7", "--out", "m")

    assert 0 == result.exit_code, result.output
    content = manifest("m")
    assert ("done", "words", "words", 1) == tuple(
        content[key] for key in ("status", "kind", "trainer", "schema_version")
    )
    assert ["member-0.json", "member-1.json", "member-2.json"] == content["members"]
    parts = content["dataset"]["parts"]
    assert [280, 60, 60] == [parts[p]["rows"] for p in ("train", "val", "test")]
    assert parts["train"]["rows"] == parts["train"]["positive"] * 2
    (source,) = content["dataset"]["sources"]
    assert ("starter", "all", 550) == (source["name"], source["split"], source["rows"])
    assert 7 == content["train_args"]["seed"] == content["dataset"]["split_seed"]
    assert 60 == content["metrics"]["test"]["ensemble"]["accuracy"]["n"]
    assert "python" in content["versions"]
    assert 1 == len(content["commands"])
    card = Path("m", "README.md").read_text()
    assert "A classifier that safebench train words trained." in card
    assert "| starter | starter | all | train | 550 |" in card


@pytest.mark.slow
def test_a_plugin_that_names_no_files_shares_none(
    train: Train, plugins: Plugins
) -> None:
    """Its artifact has a card, and what loading needs nobody else can know."""
    train("words", "--members", "1", "--out", "m")

    words = ["push", "m", "org/words", "--dry-run"]
    result = CliRunner().invoke(cli, words, obj=plugins)

    assert 2 == result.exit_code
    assert "'words' does not say which files serve" in " ".join(result.output.split())


@pytest.mark.slow
def test_secrets_do_not_reach_the_manifest(train: Train) -> None:
    """Neither as an argument nor in the command."""
    result = train("words", "--set", "hub_token=hf_secret", "--out", "m")

    assert 0 == result.exit_code, result.output
    text = Path("m/safebench.json").read_text()
    assert "hf_secret" not in text
    assert "hub_token" in text


@pytest.mark.slow
def test_the_same_command_gives_the_same_members(train: Train) -> None:
    """Twice with one seed: equal files; with another: not."""
    for out, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert 0 == train("words", "--seed", seed, "--out", out).exit_code

    first, again, other = (Path(o, "member-0.json").read_text() for o in "abc")
    assert first == again
    assert first != other


def test_a_configuration_file_sets_what_flags_set(
    train: Train, manifest: Manifest
) -> None:
    """Dashes or underscores; flags win over the file, `set` is joined."""
    Path("c.yaml").write_text(
        "trainer: words\nmembers: 3\nstop-words: [thing, and]\nsample: all\n"
        "seed: 4\nset: {learning_rate: 1e-4, bf16: true}\n"
    )

    result = train(
        "words", "--config", "c.yaml", "--seed", "5", "--set", "learning_rate=1e-5",
        "--out", "m",
    )  # fmt: skip

    assert 0 == result.exit_code, result.output
    args = manifest("m")["train_args"]
    assert (3, 5, ["thing", "and"]) == (
        args["members"],
        args["seed"],
        args["stop_words"],
    )
    assert {"learning_rate": 1e-5, "bf16": True} == args["set"]
    assert manifest("m")["dataset"]["sample"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("memers: 3", "unknown key 'memers'; did you mean 'members'?"),
        ("members: many", "trainer 'words', members: 'many' is not a whole number"),
        ("- members", "expected keys and values, got list"),
        ("members: [", "is no YAML"),
        ("trainer: cost_model", "is for the trainer 'cost_model', not 'words'"),
        ("set: 3", "set: expected keys and values"),
        ("sample: some", "sample: a number from 1, or all, got 'some'"),
        ("split: [1, 2]", "split: cannot use [1, 2]"),
        ("on_bad_row: stop", "on_bad_row: 'stop' is not one of fail, skip"),
    ],
)
def test_a_configuration_that_is_wrong_is_refused(
    train: Train, text: str, message: str
) -> None:
    """Exit code 2 and the reason, never a traceback."""
    Path("c.yaml").write_text(text)

    result = train("words", "--config", "c.yaml")

    assert 2 == result.exit_code
    assert message in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["wrods"], "unknown trainer 'wrods'; did you mean 'words'?"),
        (["words", "--member", "3"], "No such option '--member'. Did you mean '--mem"),
        (["words", "--members", "three"], "'--members': 'three' is not a whole number"),
        (["words", "--members", "0"], "members: at least 1, got 0"),
        (["words", "--weighting", "bnary"], "did you mean 'binary'?"),
        (["words", "--split", "1/1"], "three numbers above 0 such as 70/15/15"),
        (["words", "--sample", "0"], "sample: a number from 1, or all, got 0"),
        (["words", "--sample", "few"], "sample: a number from 1, or all, got 'few'"),
        (["words", "--set", "lr"], "expected key=value, got 'lr'"),
        (["words", "--set", "lr=[1"], "--set: "),
        (["words", "-d", "no_such_set"], "unknown dataset 'no_such_set'"),
        (["words", "-d", "./none.jsonl"], "no file ./none.jsonl"),
        (["words", "-d", "starter:train"], "unknown split of starter 'train'"),
        (["words", "--config", "none.yaml"], "no configuration file none.yaml"),
        (["word_pairs", "-d", "starter"], "is labelled for prompt_harm"),
    ],
)  # fmt: skip
def test_a_mistake_exits_with_2_and_what_would_work(
    train: Train, args: list[str], message: str
) -> None:
    """One message, no traceback, and nothing is left on the disk."""
    result = train(*args)

    assert 2 == result.exit_code, result.output
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("models").exists()


def test_debug_shows_the_traceback_of_a_mistake(train: Train) -> None:
    """The exception goes through, its cause attached."""
    result = train("words", "--members", "0", "--debug")

    assert isinstance(result.exception, RuntimeError)
    assert "at least 1" in str(result.exception.__cause__)


@pytest.mark.slow
def test_another_process_of_the_group_is_silent(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 1 waits for rank 0's manifest, learns, and neither speaks nor writes it."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    Path("m").mkdir()
    Path("m/safebench.json").write_text("{}")

    result = train("words", "--out", "m")

    assert 0 == result.exit_code, result.output
    assert "" == result.output
    assert "{}" == Path("m/safebench.json").read_text()


def test_trainers_are_listed_with_what_they_take(plugins: Plugins) -> None:
    """`list trainers` shows names, default sets and options."""
    result = CliRunner().invoke(cli, ["list", "trainers", "--json"], obj=plugins)

    listed = {r["name"]: r for r in map(json.loads, result.stdout.splitlines())}
    assert {"words", "word_pairs"} == set(listed)
    assert "starter" == listed["words"]["dataset"]
    assert 2 == listed["words"]["options"]["members"]
    assert listed["word_pairs"]["pairs"] is True


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "1"}, "RANK=1 in the environment, and there are 1 processes"),
        ({"LOCAL_RANK": "3"}, "LOCAL_RANK=3 in the environment, and there are 1"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2 in the environment, and there are"),
        ({"RANK": "abc"}, "RANK='abc' in the environment is no whole number from 0"),
        ({"RANK": "-1"}, "RANK='-1' in the environment is no whole number from 0"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE='0' in the environment is no whole number"),
        ({"WORLD_SIZE": "1e3"}, "WORLD_SIZE='1e3' in the environment is no whole"),
        ({"WORLD_SIZE": "\u0662"}, "in the environment is no whole number from 1"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_numbers_of_no_process_are_refused(
    environment: dict[str, str],
    message: str,
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that takes itself for a second one would wait for the first."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    result = train("words", "--members", "3", "--out", "m")

    assert 2 == result.exit_code
    assert message in result.stderr
    assert 1 == len(result.stderr.splitlines())
    assert not Path("m").exists()


def test_a_group_of_one_trains(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Launchers of one process set the variables, too."""
    for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1")):
        monkeypatch.setenv(name, value)

    assert 0 == train("words", "--members", "1", "--out", "m").exit_code
