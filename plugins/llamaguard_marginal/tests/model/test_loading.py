"""Loading: which parts fit together, which do not, and what "auto" becomes."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from safebench.errors import ModelError, OptionError
from safebench.evidence import VerdictTree
from safebench.records import Sample, Turn
from safebench.torch_utils.device import pick_device, pick_dtype
from safebench_llamaguard_marginal.classifier import LlamaGuard
from safebench_llamaguard_marginal.model.architecture import (
    max_prompt_tokens,
    refuse_recurrent,
)
from safebench_llamaguard_marginal.model.loading import load_guard
from safebench_llamaguard_marginal.options import GuardOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def build(folder: Path, **options: Any) -> LlamaGuard:
    """Build the classifier on a folder, on the CPU."""
    return LlamaGuard(GuardOptions(model=str(folder), device="cpu", **options))


@pytest.fixture(scope="module")
def guard(guard_folder: Path) -> LlamaGuard:
    """Return the classifier on the random guard, in float32."""
    return build(guard_folder)


@pytest.mark.slow
def test_facts_resolve_auto(guard: LlamaGuard) -> None:
    """What "auto" came to is known: device, number format, attention, prompt."""
    facts = dict(guard.facts)

    assert 64 == len(facts.pop("template"))
    assert {
        "device": "cpu",
        "dtype": "float32",
        "attention": "sdpa",
        "layout": "tree",
        "draft": "",  # after no text at all: lean trees are drafted
        "format": "chat",
        "max_length": 512 - 32,
        "max_new_tokens": 32,
    } == facts
    assert "random-guard" == guard.label


def test_all_endings_end(guard: LlamaGuard) -> None:
    """The configuration's, the tokenizer's and Llama-3's ends of turn all count."""
    assert frozenset({1, 4}) == guard.guard.model.eos


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_adapter_changes_the_answer(
    guard: LlamaGuard, guard_folder: Path, tmp_path: Path
) -> None:
    """A LoRA adapter is applied, and named."""
    import peft

    torch.manual_seed(1)
    network = load_guard(GuardOptions(model=str(guard_folder))).model.network
    config = peft.LoraConfig(r=2, init_lora_weights=False, target_modules=["q_proj"])
    peft.get_peft_model(network, config).save_pretrained(tmp_path / "lora")

    tuned = build(guard_folder, adapter=str(tmp_path / "lora"))

    assert "random-guard + lora" == tuned.label
    prompt = [guard.prompt_builder.probe_prompt("user").ids]
    plain, adapted = (g.guard.model.open(prompt).root_logits() for g in (guard, tuned))
    assert 1e-2 < np.abs(plain - adapted).max()


def edited(source: Path, target: Path, **config: Any) -> Path:
    """Copy a model folder and change its configuration."""
    shutil.copytree(source, target)
    path = target / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return target


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "no_such_type"}, "no_such_type"),
        ({"vocab_size": 100}, "cannot be loaded"),
        (
            {"num_hidden_layers": 5},
            "weights are not in its files, first model.layers.3",
        ),
        ({"layer_types": ["full_attention"] * 2 + ["linear_attention"]}, "linear_att"),
    ],
)
def test_models_that_cannot_be_used(
    guard_folder: Path, tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    """A folder whose parts do not fit is refused in one line."""
    folder = edited(guard_folder, tmp_path / "wrong", **config)

    with pytest.raises(ModelError) as error:
        build(folder)

    assert message in error.value.message
    assert "'wrong'" in error.value.message
    assert "\n" not in error.value.message


@pytest.mark.slow
def test_damaged_weights(guard_folder: Path, tmp_path: Path) -> None:
    """A truncated file is refused in one line that names the model."""
    folder = edited(guard_folder, tmp_path / "cut")
    shard = folder / "model-00001-of-00004.safetensors"
    shard.write_bytes(shard.read_bytes()[:100])

    with pytest.raises(ModelError, match=r"model 'cut' cannot be loaded: .+") as error:
        build(folder)

    assert "\n" not in error.value.message


@pytest.mark.slow
def test_loading_is_silent(
    guard_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No progress bar, warning or log line of a library gets between the tables."""
    guard = build(guard_folder)
    samples = [Sample(id="x", turns=(Turn("user", "hello"),))]
    guard.record(samples, frozenset({VerdictTree}), lambda _: None)

    assert ("", "") == capsys.readouterr()


def test_missing_accelerator() -> None:
    """A GPU that is not there is the user's mistake, with what would work."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ModelError, match="device=cpu or device=auto would work"):
        pick_device("cuda")
    with pytest.raises(ModelError, match="sees 0 of that kind"):
        pick_device("cuda:3")
    with pytest.raises(OptionError, match="did you mean 'cuda'"):
        pick_device("cudaa")
    assert torch.device("cpu") == pick_device("auto")


def test_dtype_follows_the_device() -> None:
    """On the CPU "auto" is float32; a named format is taken as it is."""
    assert torch.float32 == pick_dtype("auto", torch.device("cpu"))
    assert torch.float16 == pick_dtype("float16", torch.device("cpu"))


def test_prompt_limit_by_hand(make_network: Callable[..., Any]) -> None:
    """Positions, windows of attention and the answer all bound the prompt."""
    config = make_network(8, max_position_embeddings=300).config

    assert 300 - 32 == max_prompt_tokens(0, 32, config)
    assert 50 == max_prompt_tokens(50, 32, config)
    with pytest.raises(OptionError, match="268 would work"):
        max_prompt_tokens(269, 32, config)
    config.max_position_embeddings = 100_000
    assert 8192 == max_prompt_tokens(0, 32, config)
    config.layer_types = ["sliding_attention", "full_attention"]
    config.sliding_window = 64
    assert 32 == max_prompt_tokens(0, 32, config)
    config.layer_types = ["recurrent"]
    with pytest.raises(ModelError, match="recurrent layers"):
        refuse_recurrent(config, "x")
