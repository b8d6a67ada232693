"""Models that are none, or that are not whole: one line each, and what would work."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from safebench.errors import ModelError, OptionError
from safebench.training.artifact import Artifact
from safebench_cost_model.model import location
from safebench_cost_model.model.classifier import CostModel
from safebench_cost_model.model.location import (
    cost_model_capabilities,
    find_base,
    find_cost_model,
)
from safebench_cost_model.options import CostOptions, CostTrainOptions
from safebench_cost_model.train.trainer import check, fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.training import Trained, Training


def test_models_that_are_none_are_refused_in_one_line(
    tiny_bert: Path, tmp_path: Path
) -> None:
    """No model, a missing folder, a base without a head: each says what would work."""
    with pytest.raises(OptionError, match="which one"):
        CostModel(CostOptions())
    with pytest.raises(ModelError, match="no such folder"):
        CostModel(CostOptions(model=str(tmp_path / "gone")))
    with pytest.raises(ModelError, match="did you mean 'stack'"):
        find_base("./stck")
    with pytest.raises(OptionError, match="carries no template"):
        CostModel(CostOptions(model=str(tiny_bert)))
    with pytest.raises(ModelError, match="safebench train cost_model trains one"):
        CostModel(CostOptions(model=str(tiny_bert), template="pair"))
    Artifact(tmp_path).write({"kind": "cost_model", "status": "training"})
    with pytest.raises(ModelError, match="unfinished"):
        CostModel(CostOptions(model=str(tmp_path)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "gone", "message"),
    [
        ("three llamas", "member-2", "its folder member-2/adapter is gone"),
        (
            "three llamas",
            "member-3/adapter/adapter_model.safetensors",
            "its folder member-3/adapter lacks adapter_model.safetensors",
        ),
        ("bert", "model/model.safetensors", "its folder model lacks *.safetensors"),
        ("bert", "model/tokenizer.json", "its folder model lacks tokenizer.json"),
        ("bert", "safebench.json", "holds no safebench.json"),
    ],
)
def test_a_folder_that_lacks_something_says_what(
    name: str,
    gone: str,
    message: str,
    artifacts: dict[str, tuple[Path, Trained]],
    tmp_path: Path,
) -> None:
    """An ensemble is not quietly read without one of its members, nor half a model."""
    folder = shutil.copytree(artifacts[name][0], tmp_path / "half")
    if (folder / gone).is_dir():
        shutil.rmtree(folder / gone)
    else:
        (folder / gone).unlink()

    with pytest.raises(ModelError, match=re.escape(message)):
        CostModel(CostOptions(model=str(folder)))


@pytest.mark.slow
def test_adapters_without_their_base_say_so(
    tiny_llama: Path,
    make_training: Callable[..., Training],
    finish: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Moved, it is named; another in its place is refused; of old ones it is said."""
    base = shutil.copytree(tiny_llama, tmp_path / "base")
    folder = finish(tmp_path / "out", fit(make_training(tmp_path / "out", base)))
    base.rename(tmp_path / "moved")

    with pytest.raises(ModelError, match=r"holds adapters for base, .*no such folder"):
        CostModel(CostOptions(model=str(folder)))

    shutil.copytree(tmp_path / "moved", base)
    (base / "tokenizer.json").write_bytes(b"{}")
    with pytest.raises(ModelError, match=r"trained on base \(tok.* is another base"):
        find_cost_model(CostOptions(model=str(folder)))

    manifest = Artifact(folder).manifest()
    del manifest["base"]["hashes"]
    Artifact(folder).write(manifest)
    note = cost_model_capabilities(CostOptions(model=str(folder))).note
    assert "whether base is the same is unknown" in note


def test_a_manifest_that_lacks_a_key_is_damaged(tmp_path: Path) -> None:
    """One line, and no traceback."""
    Artifact(tmp_path).write({"kind": "cost_model", "status": "done"})

    with pytest.raises(ModelError, match=r"safebench.json is damaged \(KeyError"):
        CostModel(CostOptions(model=str(tmp_path)))


def test_a_fault_of_the_code_is_not_told_as_a_damaged_file(
    artifacts: dict[str, tuple[Path, Trained]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A TypeError is itself, unless the manifest's own values raise it."""
    folder = shutil.copytree(artifacts["bert"][0], tmp_path / "copy")
    options = CostOptions(model=str(folder))
    manifest = Artifact(folder).manifest()
    with monkeypatch.context() as patch:
        patch.setattr(location, "_combined_hash", lambda _: len(3))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="has no len"):
            find_cost_model(options)

    Artifact(folder).write(manifest | {"members": "two"})
    with pytest.raises(ModelError, match=r"damaged \(TypeError: members is a str"):
        find_cost_model(options)


def test_a_wrong_key_is_told_before_a_missing_base() -> None:
    """What costs no look is checked first."""
    with pytest.raises(OptionError, match="--set weight_decai"):
        check(CostTrainOptions(base="./gone"), {"weight_decai": 1})


def test_a_classifier_of_several_classes_is_no_cost_model(
    tiny_bert: Path, tmp_path: Path
) -> None:
    """Two outputs are refused by their number."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    network = AutoModelForSequenceClassification.from_pretrained(
        tiny_bert, num_labels=2
    )
    network.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path)

    with pytest.raises(ModelError, match="tells 2 classes apart"):
        CostModel(CostOptions(model=str(tmp_path), template="pair"))
