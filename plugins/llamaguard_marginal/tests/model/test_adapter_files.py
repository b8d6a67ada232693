"""Adapters with files of their own: what lies in their folder counts."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from safebench.errors import ModelError
from safebench.records import Turn
from safebench_llamaguard_marginal.model.loading import load_guard
from safebench_llamaguard_marginal.options import GuardOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore")
TEMPLATE = "Is this safe or unsafe? {{ messages[-1]['content'] }} <|end_header_id|>"
ADDED = ["<judge>", "<verdict>"]


def load(folder: Path, **options: Any) -> Any:
    """Load a guard on the CPU."""
    return load_guard(GuardOptions(model=str(folder), device="cpu", **options))


def wrapped(folder: Path, rows: int = 0, **config: Any) -> Any:
    """Return a trained-looking adapter on the guard in a folder."""
    torch.manual_seed(1)
    network = AutoModelForCausalLM.from_pretrained(folder).eval()
    if rows:
        network.resize_token_embeddings(rows)
    options = {"r": 2, "init_lora_weights": False, "target_modules": ["q_proj"]}
    return peft.get_peft_model(network, peft.LoraConfig(**(options | config)))


def prompt_text(guard: Any) -> str:
    """Return what the guard is asked about a text."""
    return str(guard.prompt_format.render([Turn("user", "hello")]).text)


@pytest.mark.slow
@pytest.mark.parametrize(
    "form", ["chat_template.jinja", "tokenizer_config.json", "tokenizer"]
)
def test_the_adapters_template_is_used(
    form: str, guard_folder: Path, tokenizer: Any, tmp_path: Path
) -> None:
    """With a tokenizer around it or alone; without one the base's stays."""
    folder = tmp_path / "lora"
    wrapped(guard_folder).save_pretrained(folder)
    assert prompt_text(load(guard_folder)) == prompt_text(
        load(guard_folder, adapter=str(folder))
    )
    if form == "tokenizer":
        changed = copy.deepcopy(tokenizer)
        changed.chat_template = TEMPLATE
        changed.save_pretrained(folder)
    elif form == "tokenizer_config.json":
        (folder / form).write_text(json.dumps({"chat_template": TEMPLATE}))
    else:
        (folder / form).write_text(TEMPLATE)

    text = prompt_text(load(guard_folder, adapter=str(folder)))

    assert "Is this safe or unsafe? hello <|end_header_id|>" == text


@pytest.mark.slow
@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("tied", [True, False])
def test_added_tokens_get_the_adapters_embeddings(
    tied: bool,
    padding: int,
    make_tokenizer: Callable[[], Any],
    make_network: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """Logits are those of the network that was saved, resized as it was."""
    tokenizer, base, folder = make_tokenizer(), tmp_path / "base", tmp_path / "lora"
    make_network(len(tokenizer), tie_word_embeddings=tied).save_pretrained(base)
    tokenizer.save_pretrained(base)
    tokenizer.add_tokens(ADDED, special_tokens=True)
    trained = wrapped(base, len(tokenizer) + padding)
    trained.save_pretrained(folder, save_embedding_layers=True)
    tokenizer.save_pretrained(folder)

    guard = load(base, adapter=str(folder))

    ids = tokenizer("a <judge> b <verdict>")["input_ids"]
    assert set(tokenizer.convert_tokens_to_ids(ADDED)) <= set(ids)
    with torch.no_grad():
        expected = trained(torch.tensor([ids])).logits[0, -1].numpy()
    logits = guard.model.open([ids]).root_logits()[0]
    np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_added_tokens_without_embeddings_are_refused(
    guard_folder: Path, make_tokenizer: Callable[[], Any], tmp_path: Path
) -> None:
    """Their rows would be made up."""
    tokenizer, folder = make_tokenizer(), tmp_path / "lora"
    wrapped(guard_folder).save_pretrained(folder)
    tokenizer.add_tokens(ADDED)
    tokenizer.save_pretrained(folder)

    with pytest.raises(ModelError, match="no embeddings of those it adds") as error:
        load(guard_folder, adapter=str(folder))
    assert "\n" not in error.value.message


@pytest.mark.slow
def test_a_tokenizer_of_another_model_is_refused(
    guard_folder: Path, word_tokenizer: Any, tmp_path: Path
) -> None:
    """The base would read other words than the adapter was trained on."""
    folder = tmp_path / "lora"
    wrapped(guard_folder).save_pretrained(folder)
    word_tokenizer.save_pretrained(folder)

    with pytest.raises(ModelError, match="gives other ids to"):
        load(guard_folder, adapter=str(folder))


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"\x02" + b"\0" * 7 + b"[]"])
def test_damaged_weights_of_an_adapter_are_one_line(
    content: bytes, guard_folder: Path, tmp_path: Path
) -> None:
    """Whatever the file begins with."""
    folder = tmp_path / "lora"
    wrapped(guard_folder).save_pretrained(folder)
    (folder / "adapter_model.safetensors").write_bytes(content)

    with pytest.raises(ModelError, match=r"adapter 'lora' cannot be loaded") as error:
        load(guard_folder, adapter=str(folder))
    assert "\n" not in error.value.message
