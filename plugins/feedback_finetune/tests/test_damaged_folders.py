"""Damaged files of a training: named in one line, never read as something else."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench.errors import ModelError
from safebench_feedback_finetune.commands import feedback_group
from safebench_feedback_finetune.train.fine_tune import read_facts
from safebench_feedback_finetune.train.training_folder import (
    read_pre_registration,
    read_seen_hashes,
    read_test_split,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PART = {
    "prompt_id": "a",
    "part": "train",
    "role": "collected",
    "cluster": "a",
    "text_hash": "0f",
}
TEST = {
    "id": "a",
    "text": "t",
    "dataset": "d",
    "group": "g",
    "label": None,
    "p_in": 0.2,
    "p_out": [0.9],
    "responses": [],
    "passed": True,
    "cluster": "a",
}
PROMISE: dict[str, Any] = {
    "terms": {"cap": 0.1, "tolerance": 0.0, "delta": 0.05},
    "base_fpr": 0.1,
    "base_recall": 0.5,
    "aim": 0.05,
    "n_benign": 9,
    "candidate": {"alpha": 1.0, "threshold": 0.5},
    "control": {"alpha": 0.0, "threshold": 0.5},
}
# No JSON, half a line, no text, zeros of a crash, a bomb, another shape.
GARBAGE = (b"{", b"\xff\xfe", b"\0" * 64, b"[" * 100_000, b"[]", b"7", b"null", b"{}")


def _changed(row: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps(row | changes).encode()


@pytest.mark.parametrize(
    "line",
    [
        *GARBAGE,
        _changed(PART, part="holdout"),
        _changed(PART, part=["train"]),
        _changed(PART, text_hash=None),
    ],
)
def test_a_damaged_line_of_the_splits_is_named(tmp_path: Path, line: bytes) -> None:
    """Prompts that were seen in training must not pass as unseen ones."""
    path = tmp_path / "parts.jsonl"
    path.write_bytes(_changed(PART) + b"\n" + line + b"\n")

    with pytest.raises(ModelError, match=r"parts.jsonl:2 is damaged \(.+\): train"):
        read_seen_hashes(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        *GARBAGE,
        _changed(TEST, p_in=float("nan")),
        _changed(TEST, p_out=[1.5]),
        _changed(TEST, p_out=0.5),
        _changed(TEST, p_out=["0.5"]),
        _changed(TEST, label="safe"),
        _changed(TEST, text=1),
        _changed(TEST, colour="red"),
    ],
)
def test_a_damaged_line_of_the_test_split_is_named(tmp_path: Path, line: bytes) -> None:
    """Neither a traceback nor a score that is none."""
    path = tmp_path / "test.jsonl"
    path.write_bytes(_changed(TEST) + b"\n" + line + b"\n")

    with pytest.raises(ModelError, match=r"test.jsonl:2 is damaged \(.+\): train"):
        read_test_split(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        *GARBAGE,
        _changed(PROMISE)[:-20],
        _changed(PROMISE, terms={"cap": 7.0}),
        _changed(PROMISE, candidate="best"),
        _changed(PROMISE, candidate={"alpha": 3.0, "threshold": 0.5}),
        _changed(PROMISE, control=None),
        _changed(PROMISE, aim=None),
        _changed(PROMISE, n_benign="many"),
    ],
)
def test_a_damaged_registration_is_not_made_again(
    tmp_path: Path, content: bytes
) -> None:
    """Calib may have been seen since: the file is named, and a new folder asked for."""
    path = tmp_path / "promise.json"
    path.write_bytes(content)

    with pytest.raises(ModelError, match=r"promise.json is damaged \(.+\): train"):
        read_pre_registration(path)
    assert path.read_bytes() == content


def test_whole_files_are_read(tmp_path: Path) -> None:
    """What training writes is no damage."""
    (tmp_path / "parts.jsonl").write_bytes(_changed(PART) + b"\n")
    (tmp_path / "test.jsonl").write_bytes(_changed(TEST) + b"\n")
    (tmp_path / "promise.json").write_bytes(_changed(PROMISE))

    assert read_seen_hashes(tmp_path) == {"0f"}
    assert read_test_split(tmp_path)[1] == {"a": "a"}
    assert read_pre_registration(tmp_path / "promise.json").n_benign == 9


def _cut(data: bytes, _: bytes) -> bytes:
    return data[: len(data) // 2]


def _without_last_line(data: bytes, _: bytes) -> bytes:
    return b"".join(data.splitlines(keepends=True)[:-1])


def _flip(share: float) -> Callable[[bytes, bytes], bytes]:
    """Return a damage of one bit, at a share of the file."""

    def flip(data: bytes, _: bytes) -> bytes:
        at = int(share * (len(data) - 1))
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return flip


def _retyped(data: bytes, _: bytes) -> bytes:
    """Make text of every number and a number of every text, line by line."""

    def retype(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: retype(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return {"0": value}
        return str(value) if isinstance(value, int | float) else 7

    try:
        lines = [json.loads(data)]
    except ValueError:
        try:
            lines = [json.loads(line) for line in data.splitlines() if line]
        except ValueError:  # weights
            return data[:-1]
    return "\n".join(json.dumps(retype(line)) for line in lines).encode()


# Each takes the bytes of a file and those of another one of the same folder.
DAMAGES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "cut": _cut,
    "a line less": _without_last_line,
    "a bit at the start": _flip(0.03),
    "a bit in the middle": _flip(0.5),
    "a bit near the end": _flip(0.9),
    "empty": lambda data, _: b"",
    "zeros": lambda data, _: bytes(len(data)),
    "deep": lambda data, _: b"[" * 100_000,
    "deep inside": lambda data, _: b'{"a":' * 100_000,
    "another encoding": lambda data, _: data.decode("latin-1").encode("utf-16"),
    "swapped": lambda _, other: other,
    "retyped": _retyped,
}
COLLECTED = ("collected.jsonl", "manifest.json")
TRAINED = (
    *("safebench.json", "parts.jsonl", "test.jsonl", "promise.json"),
    *("trained/adapter_model.safetensors", "trained/adapter_config.json"),
    "trained/learned.json",
)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, write_rows: Callable[..., Path]
) -> Path:
    """Return a folder with a finished collection and a finished training."""
    folder = tmp_path_factory.mktemp("finished")
    prompts = [
        (
            f"How do I {('kill a man', 'bake bread')[i % 2]} in way {chr(97 + i)} {i}?",
            ("Stab them until dead.", "Mix flour and water.", "No.")[i % 3],
            i % 3 == 0,
        )
        for i in range(60)
    ]
    benign = [(f"Name {i} songs of {i * i} towns", "safe") for i in range(40)]
    write_rows(folder / "rows.jsonl", prompts, "prompt", "response", "label")
    write_rows(folder / "benign.jsonl", benign, "prompt", "label")
    for words in (
        _collect(folder),
        _train(folder, folder / "benign.jsonl", "improved"),
    ):
        result = CliRunner().invoke(feedback_group, words)
        assert 0 == result.exit_code, result.output
    return folder


def _collect(folder: Path) -> list[str]:
    data = ["-d", f"{folder / 'rows.jsonl'},task=response_harm"]
    return ["collect", *data, "--out", str(folder / "collected"), "--device", "cpu"]


def _train(folder: Path, benign: Path, out: str) -> list[str]:
    inputs = ["--collected", str(folder / "collected"), "--benign", str(benign)]
    settings = ["--epochs", "1", "--alpha", "1", "--cap", "0.2", "--lora-r", "1"]
    place = ["--device", "cpu", "--out", str(folder / out)]
    return ["train", *inputs, *settings, *place]


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "name",
    [*(f"collected/{n}" for n in COLLECTED), *(f"improved/{n}" for n in TRAINED)],
)
def test_a_damaged_file_is_never_believed(
    name: str, damage: str, finished: Path, tmp_path: Path
) -> None:
    """Every command that reads it ends in one line that names the file."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, copy_function=_link)
    path = folder / name
    before = path.read_bytes()
    siblings = sorted(p for p in path.parent.iterdir() if p.is_file() and p != path)
    other = next(p for p in siblings if not p.name.startswith("."))
    damaged = DAMAGES[damage](before, other.read_bytes())
    path.unlink()
    path.write_bytes(damaged)
    benign = finished / "benign.jsonl"  # part of what a training is known by
    evaluate = ["evaluate", "--improved", str(folder / "improved"), "--device", "cpu"]
    readers = (
        [_train(folder, benign, "new")]
        if name.startswith("collected")
        else [evaluate, _train(folder, benign, "improved")]
    )

    for words in readers:
        result = CliRunner().invoke(feedback_group, words)
        assert 2 == result.exit_code, result.output
        # a note on the data may come before it
        assert path.name in result.output.splitlines()[-1], result.output
        assert "Traceback" not in result.output
        assert isinstance(result.exception, SystemExit)
    assert damaged == path.read_bytes()


def _link(source: str, target: str) -> None:
    """Copy by a link: only the damaged file is written, and that is unlinked first."""
    os.link(source, target)


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["learned.json", "adapter_model.safetensors"])
def test_a_damaged_lora_is_not_gone_on_with(
    name: str, damage: str, finished: Path, tmp_path: Path
) -> None:
    """A training that was interrupted behind it says what to delete."""
    trained = tmp_path / "trained"
    shutil.copytree(finished / "improved" / "trained", trained)
    assert 0 < read_facts(trained / "learned.json")["steps"]
    path, other = trained / name, trained / "adapter_config.json"
    path.write_bytes(DAMAGES[damage](path.read_bytes(), other.read_bytes()))

    with pytest.raises(ModelError, match=rf"{name} is damaged .+: delete .+trained"):
        read_facts(trained / "learned.json")
