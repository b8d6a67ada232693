"""Adapters with files of their own: what lies in their folder counts."""

from __future__ import annotations

import copy
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from safebench.errors import ModelError
from safebench.records import Turn
from safebench.torch_utils import ModelFolder
from safebench.training import Artifact
from safebench_llamaguard_marginal.identity import fingerprint
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
    "form",
    [
        *("chat_template.jinja", "tokenizer_config.json", "chat_template.json"),
        *("tokenizer", "named", "additional_chat_templates/default.jinja"),
    ],
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
    elif form == "named":
        named = [
            {"name": "default", "template": TEMPLATE},
            {"name": "x", "template": ""},
        ]
        content = json.dumps({"chat_template": named})
        (folder / "tokenizer_config.json").write_text(content)
    elif form.endswith(".json"):
        (folder / form).write_text(json.dumps({"chat_template": TEMPLATE}))
    else:
        (folder / form).parent.mkdir(exist_ok=True)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("added_tokens.json", {"<judge>": 999}),
        (
            "tokenizer_config.json",
            {"added_tokens_decoder": {"9": {"content": "<judge>"}}},
        ),
    ],
)
def test_an_adapter_that_adds_tokens_needs_its_tokenizer(
    name: str, content: dict[str, Any], guard_folder: Path, tmp_path: Path
) -> None:
    """Under the base's tokenizer they would be read as other words."""
    folder = tmp_path / "lora"
    wrapped(guard_folder).save_pretrained(folder)
    (folder / name).write_text(json.dumps(content))

    with pytest.raises(ModelError, match=r"adds the token '<judge>'.*no tokenizer"):
        load(guard_folder, adapter=str(folder))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trained_on", "noted"),
    [
        ("meta-llama/Llama-3.2-1B", "was trained on Llama-3.2-1B, and is put on"),
        ("ORG/Random-Guard", None),
        ("/somewhere/else/random-guard/", None),
        (None, None),
    ],
)
def test_another_base_than_the_adapters_own_is_noted(
    trained_on: str | None, noted: str | None, guard_folder: Path, tmp_path: Path
) -> None:
    """Its shapes may fit all the same."""
    folder = tmp_path / "lora"
    wrapped(guard_folder).save_pretrained(folder)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text()) | {"base_model_name_or_path": trained_on}
    path.write_text(json.dumps(config))

    notes = load(guard_folder, adapter=str(folder)).notes

    assert [noted] * len(notes) == [noted for note in notes if str(noted) in note]
    assert bool(noted) == bool(notes)


@pytest.mark.slow
def test_an_adapter_that_knows_its_base_refuses_another(
    guard_folder: Path, tmp_path: Path
) -> None:
    """By hashes; one of before there were any is put on any base, with a note."""
    base, folder = ModelFolder(guard_folder, "guard"), tmp_path / "lora"
    wrapped(guard_folder).save_pretrained(folder)
    manifest = {"kind": "llamaguard", "base": base.base_record()}
    Artifact(folder).write(manifest)
    assert not load(guard_folder, adapter=str(folder)).notes

    manifest["base"]["hashes"]["weights"] = "0" * 64
    Artifact(folder).write(manifest)
    with pytest.raises(ModelError, match=r"on guard \(weights 0{12}\), and .* another"):
        load(guard_folder, adapter=str(folder))

    Artifact(folder).write({"kind": "llamaguard", "base_guard": "guard"})
    (note,) = load(guard_folder, adapter=str(folder)).notes
    assert "was trained on guard and does not say by hashes" in note


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [
        "model.safetensors",
        "adapter_model.safetensors",
        "additional_chat_templates/default.jinja",
        "chat_template.jinja",
    ],
)
def test_what_the_library_reads_identifies_a_model(
    changed: str, guard_folder: Path, tmp_path: Path
) -> None:
    """A whole file beside shards, and an adapter in a model's own folder."""
    folder = tmp_path / "guard"
    shutil.copytree(guard_folder, folder)
    network = AutoModelForCausalLM.from_pretrained(folder)
    network.save_pretrained(tmp_path / "whole")
    wrapped(guard_folder).save_pretrained(tmp_path / "lora")
    shutil.copy(tmp_path / "whole/model.safetensors", folder)
    for path in (tmp_path / "lora").glob("adapter_*"):
        shutil.copy(path, folder)
    before = fingerprint(ModelFolder(folder, "guard"))
    assert before == fingerprint(ModelFolder(folder, "guard"))

    path = folder / changed
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b" ")

    assert before != fingerprint(ModelFolder(folder, "guard"))


def renamed(old: str, new: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what gives tensors other names."""
    return lambda tensors: {k.replace(old, new): v for k, v in tensors.items()}


def without(part: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what leaves out tensors."""
    return lambda tensors: {k: v for k, v in tensors.items() if part not in k}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (renamed("layers.0", "layers.9"), "2 weights have no place in the model"),
        (renamed("model.layers", "language_model.layers"), "6 weights have no place"),
        (renamed("q_proj", "qkv_proj"), "6 weights have no place"),
        (renamed("lora_A", "lora_X"), "3 weights have no place"),
        (without("layers.1"), "2 weights are not in its files"),
        (without("lora_B"), "3 weights are not in its files"),
        (without(""), "6 weights are not in its files"),
    ],
)
def test_weights_of_an_adapter_without_a_place_are_refused(
    change: Callable[[dict[str, Any]], dict[str, Any]],
    problem: str,
    guard_folder: Path,
    tmp_path: Path,
) -> None:
    """Left out, the base would be judged under the adapter's name."""
    folder = tmp_path / "lora"
    wrapped(guard_folder).save_pretrained(folder)
    path = folder / "adapter_model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})

    with pytest.raises(ModelError, match=problem) as caught:
        load(guard_folder, adapter=str(folder))

    assert 1 == len(caught.value.message.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("eos", "expected"),
    [(7, {7}), ([7, 9], {7, 9}), (None, set()), (99_999, None), ("</s>", None)],
)
def test_an_adapters_own_ends_count(
    eos: Any, expected: set[int] | None, guard_folder: Path, tmp_path: Path
) -> None:
    """A generation_config.json in its folder is of its training, as a tokenizer is."""
    folder = tmp_path / "lora"
    wrapped(guard_folder).save_pretrained(folder)
    before = load(guard_folder).model.eos
    content = json.dumps({"eos_token_id": eos})
    (folder / "generation_config.json").write_text(content)

    if expected is None:
        with pytest.raises(ModelError, match=r"eos_token_id .* names no tokens of"):
            load(guard_folder, adapter=str(folder))
    else:
        assert before | expected == load(guard_folder, adapter=str(folder)).model.eos
        assert not expected & before


@pytest.mark.slow
def test_a_tokenizer_above_a_checkpoint_is_noted(
    guard_folder: Path, tokenizer: Any, tmp_path: Path
) -> None:
    """Training saves it at the end, in the folder of all checkpoints."""
    folder = tmp_path / "checkpoint-12"
    wrapped(guard_folder).save_pretrained(folder)
    assert not any("above" in n for n in load(guard_folder, adapter=str(folder)).notes)
    changed = copy.deepcopy(tokenizer)
    changed.chat_template = TEMPLATE
    changed.save_pretrained(tmp_path)

    guard = load(guard_folder, adapter=str(folder))

    assert any("the one in the folder above it is read where" in n for n in guard.notes)
    assert "Is this safe" not in prompt_text(guard)
    for path in tmp_path.glob("*.json*"):
        shutil.copy(path, folder)
    shutil.copy(tmp_path / "chat_template.jinja", folder)
    guard = load(guard_folder, adapter=str(folder))
    assert not any("above" in n for n in guard.notes)
    assert "Is this safe" in prompt_text(guard)
