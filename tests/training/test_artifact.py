"""The artifact of a training: reading its manifest, and folders that are refused."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.errors import ModelError, RunFolderError
from safebench.pipeline.config import parse_component_ref
from safebench.plugins import Plugins
from safebench.specs import TrainerSpec
from safebench.training.artifact import (
    Artifact,
    check_output_folder,
    offer_trained,
    wait_for_manifest,
)

DONE = {"kind": "words", "status": "done", "trainer": "words", "members": ["a"]}


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """With the schema's version added, for one kind or one of several."""
    Artifact(tmp_path).write(DONE)

    assert DONE | {"schema_version": 1} == Artifact(tmp_path).finished("words")
    assert DONE | {"schema_version": 1} == Artifact(str(tmp_path)).finished(
        {"x", "words"}
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no safebench.json: it is not from safebench train words"),
        ("{", "safebench.json cannot be read: "),
        ("[]", "safebench.json cannot be read: not a JSON object"),
        (
            {"kind": "cost_model"},
            "holds a model of cost_model, not words: say -c cost_model",
        ),
        ({"schema_version": 9}, "has schema 9; this version of safebench reads 1"),
        (
            {"status": "training"},
            "is unfinished: go on with safebench train words --res",
        ),
    ],
)
def test_an_unusable_folder_gives_one_line(
    tmp_path: Path, content: Any, message: str
) -> None:
    """Missing, broken, of another kind, newer or unfinished."""
    if isinstance(content, dict):
        content = json.dumps(DONE | {"schema_version": 1} | content)
    if content is not None:
        (tmp_path / "safebench.json").write_text(content)

    with pytest.raises(ModelError) as error:
        Artifact(tmp_path).finished("words")

    assert message in error.value.message
    assert 1 == len(error.value.message.splitlines())


def test_a_folder_that_is_not_there_says_how_to_get_one(tmp_path: Path) -> None:
    """The training command is named."""
    with pytest.raises(ModelError, match=r"no folder .*none: train one with safebench"):
        Artifact(tmp_path / "none").finished("words")


@pytest.mark.parametrize(
    ("classifier", "command"),
    [
        ("tfidf", "bert_ensemble --base tfidf"),
        ("frozen_encoder", "bert_ensemble --base minilm-frozen"),
        ("cost_tfidf", "cost_model --base tfidf"),
    ],
)
def test_the_command_is_one_that_there_is(classifier: str, command: str) -> None:
    """A classifier may be trained by a trainer of another name."""
    result = CliRunner().invoke(
        cli, ["run", "-c", classifier, "--model", "nowhere"], obj=Plugins()
    )

    assert f"train one with safebench train {command}" in result.stderr
    assert command.split(maxsplit=1)[0] in {
        spec.name for spec in Plugins().all(TrainerSpec)
    }


def test_new_and_empty_folders_are_open(tmp_path: Path) -> None:
    """So is one with hidden files alone, such as a lock."""
    check_output_folder(tmp_path / "new", resume=False)
    (tmp_path / ".lock").touch()
    check_output_folder(tmp_path, resume=False)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """It is refused by name."""
    (tmp_path / "file").touch()

    with pytest.raises(RunFolderError, match="file is a file"):
        check_output_folder(tmp_path / "file", resume=True)


def test_all_differences_are_named_by_their_path(tmp_path: Path) -> None:
    """Nested values, keys that one side lacks; tuples and lists are alike."""
    identity = {"options": {"a": 1, "b": [1, 2]}, "seed": 0}
    Artifact(tmp_path).write(DONE | {"identity": identity})
    (tmp_path / "weights.bin").touch()

    check_output_folder(
        tmp_path, resume=True, identity={"options": {"a": 1, "b": (1, 2)}, "seed": 0}
    )
    with pytest.raises(RunFolderError) as error:
        check_output_folder(
            tmp_path, resume=True, identity={"options": {"a": 2}, "seed": 0}
        )

    assert "options.a: 1 there, 2 asked for" in error.value.message
    assert "options.b: [1, 2] there, None asked for" in error.value.message
    assert "seed" not in error.value.message


def test_the_hash_follows_weights_and_their_names_alone(tmp_path: Path) -> None:
    """Other weights, another hash; notes and interrupted checkpoints do not count."""
    (tmp_path / "member").mkdir()
    weights = tmp_path / "member" / "model.safetensors"
    weights.write_bytes(b"abc")
    first = Artifact(tmp_path).weights_hash()

    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / "model.safetensors").write_bytes(b"x")
    same = Artifact(tmp_path).weights_hash()
    weights.write_bytes(b"abd")
    changed = Artifact(tmp_path).weights_hash()
    weights.rename(tmp_path / "member" / "other.safetensors")

    assert first == same
    assert 3 == len({first, changed, Artifact(tmp_path).weights_hash()})


def test_waiting_for_a_main_process_that_failed_ends(tmp_path: Path) -> None:
    """Other processes do not wait for ever."""
    with pytest.raises(RunFolderError, match="main process wrote no"):
        wait_for_manifest(tmp_path, timeout=0.0)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"seed": 3', '"seed": 4'),
        ('"threshold": 0.25', '"threshold": 0.26'),
        ('"threshold": 0.25', '"threshold": "0.25"'),
        ('"status": "training"', '"status": "done"'),
        ('"a",', ""),
    ],
)
def test_a_manifest_that_was_changed_is_refused(
    tmp_path: Path, before: str, after: str
) -> None:
    """It decides what is loaded and how it is read; the message names the file."""
    content = {
        "kind": "keyword",
        "status": "training",
        "seed": 3,
        "members": ["a", "b"],
        "threshold": 0.25,
    }
    Artifact(tmp_path).write(content)
    assert content.items() <= Artifact(tmp_path).manifest().items()
    path = tmp_path / "safebench.json"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))

    with pytest.raises(ModelError, match=r"safebench\.json cannot be read.*changed"):
        Artifact(tmp_path).manifest()


def test_a_manifest_without_a_checksum_is_read(tmp_path: Path) -> None:
    """Early versions wrote none."""
    (tmp_path / "safebench.json").write_text('{"kind": "keyword", "seed": 3}')

    assert {"kind": "keyword", "seed": 3} == Artifact(tmp_path).manifest()


def trained(folder: str, kind: str, status: str = "done") -> None:
    """Write the manifest of a training."""
    Path(folder).mkdir(parents=True)
    Artifact(folder).write({"kind": kind, "status": status})


def test_what_was_trained_here_is_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the words that name it, read back as `-c` reads them; at most five."""
    monkeypatch.chdir(tmp_path)
    assert "" == offer_trained("tfidf")

    trained("models/a", "tfidf")
    trained("models/half", "tfidf", "training")
    trained("runs/it's, one", "tfidf")
    trained("models/other", "bert_ensemble")
    Path("models/broken").mkdir()
    Path("models/broken/safebench.json").write_text("{")

    offered = offer_trained("tfidf")
    words = shlex.split(offered.removeprefix("\n  trained here: ").replace(", or", ""))
    assert ["-c", "-c"] == words[::2]
    refs = [parse_component_ref(word) for word in words[1::2]]
    assert [("tfidf", "models/a"), ("tfidf", "runs/it's, one")] == [
        (ref.name, ref.options["model"]) for ref in refs
    ]
    assert "nothing of cost_model, but -c tfidf,model=models/a" in offer_trained(
        "cost_model"
    )
    with pytest.raises(ModelError, match=r"no folder models/b: .*\n  trained"):
        Artifact("models/b").finished("tfidf")

    for number in range(6):
        trained(f"models/n{number}", "cost_model")
    assert offer_trained("cost_model").endswith(" (and 1 more)")
