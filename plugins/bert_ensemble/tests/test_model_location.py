"""Folders that cannot be asked, each told in one line."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import ModelError
from safebench_bert_ensemble.model.classifier import BertEnsemble
from safebench_bert_ensemble.model.identity import ensemble_identity
from safebench_bert_ensemble.options import EnsembleOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_without_a_model_it_says_how_to_get_one() -> None:
    """One line with the command that trains one."""
    with pytest.raises(ModelError, match="safebench train bert_ensemble"):
        ensemble_identity(EnsembleOptions())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("no folder", "/mine': no such folder"),
        ("no manifest", "holds no safebench.json"),
        ("torn manifest", "cannot be read"),
        ("unfinished", "is unfinished: go on with .*--resume"),
        ("other kind", "cost_model, not bert_ensemble"),
        ("no member", "lacks a member .*member-02"),
        ("no weights", "lacks a member .*member-02 holds no weights"),
    ],
)
def test_a_bad_folder_is_one_clear_line(
    ensemble_folder: Path, tmp_path: Path, damage: str, message: str
) -> None:
    """Each way for a folder to be wrong has its own line."""
    folder = tmp_path / "mine"
    manifest = folder / "safebench.json"
    if damage != "no folder":
        shutil.copytree(ensemble_folder, folder)
    changes: dict[str, Callable[[], Any]] = {
        "no folder": lambda: None,
        "no manifest": manifest.unlink,
        "torn manifest": lambda: manifest.write_text("{"),
        "unfinished": lambda: _change(manifest, status="training"),
        "other kind": lambda: _change(manifest, kind="cost_model"),
        "no member": lambda: shutil.rmtree(folder / "member-02"),
        "no weights": (folder / "member-02" / "model.safetensors").unlink,
    }
    changes[damage]()

    with pytest.raises(ModelError, match=message) as caught:
        BertEnsemble(EnsembleOptions(model=str(folder), device="cpu"))
    assert "\n" not in caught.value.message


def _change(manifest: Path, **changes: str) -> None:
    content = json.loads(manifest.read_text()) | changes
    manifest.write_text(json.dumps(content))


def test_an_encoder_without_a_head_is_refused(tiny_base: Path) -> None:
    """Its answers would be random: the message says what such a folder is good for."""
    with pytest.raises(ModelError, match=r"is no classifier.*--base"):
        BertEnsemble(EnsembleOptions(model=str(tiny_base), device="cpu"))


def test_torn_weights_are_one_line(ensemble_folder: Path, tmp_path: Path) -> None:
    """A file that was cut short is named with its member."""
    folder = tmp_path / "mine"
    shutil.copytree(ensemble_folder, folder)
    weights = folder / "member-01" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])

    with pytest.raises(ModelError, match="mine/member-01' cannot be loaded") as caught:
        BertEnsemble(EnsembleOptions(model=str(folder), device="cpu"))
    assert "\n" not in caught.value.message


def test_a_model_without_its_tokenizer_is_refused(
    make_checkpoint: Callable[..., Path],
) -> None:
    """A made-up tokenizer would read all words as the same unknown one."""
    folder = make_checkpoint("bare", {0: "safe", 1: "harmful"})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink(missing_ok=True)

    with pytest.raises(ModelError, match="'bare' has no tokenizer") as caught:
        BertEnsemble(EnsembleOptions(model=str(folder), device="cpu"))
    assert "\n" not in caught.value.message
