"""Folders from anybody: their code is never run, and no file of theirs is a trap."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="these modules run torch")

import peft
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification
from transformers import PreTrainedTokenizerFast as FastTokenizer

from safebench.errors import ModelError
from safebench.torch_utils import load_adapters, load_arrays, quiet_transformers
from safebench.torch_utils.loading import (
    load_config,
    load_network,
    load_tensors,
    load_tokenizer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

CODE = """
import pathlib
pathlib.Path({marker!r}).write_text("ran")
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast
class EvilConfig(BertConfig): model_type = "evil"
class EvilModel(BertForSequenceClassification): config_class = EvilConfig
class EvilTokenizer(BertTokenizerFast): pass
class BertModel(BertForSequenceClassification): pass
"""
SHAPE = {
    "vocab_size": 32,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 64,
}


def word_tokenizer() -> Tokenizer:
    """Return a tokenizer of a few words."""
    words = {"[PAD]": 0, "[UNK]": 1, "a": 2, "b": 3}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a whole classifier of two classes, with its tokenizer."""
    path = tmp_path / "mine"
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(**SHAPE)).save_pretrained(path)
    FastTokenizer(
        tokenizer_object=word_tokenizer(), unk_token="[UNK]", pad_token="[PAD]"
    ).save_pretrained(path)
    return path


@pytest.fixture
def marker(folder: Path) -> Path:
    """Return the file that the folder's code would write, and add that code."""
    path = folder.parent / "ran"
    code = CODE.format(marker=str(path))
    for name in ("modeling_evil", "configuration_evil", "tokenization_evil"):
        (folder / f"{name}.py").write_text(code)
    return path


def change(folder: Path, file: str, **values: Any) -> None:
    """Replace values in a JSON file of the folder."""
    path = folder / file
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(content | values))


def load_everything(folder: Path) -> None:
    """Load all that a plugin would."""
    load_config(folder, "mine")
    load_tokenizer(folder, "mine")
    load_network("classifier", folder, "mine")


def one_line(error: pytest.ExceptionInfo[ModelError]) -> str:
    """Return the message, which is one line that names the model."""
    message = error.value.message
    assert "\n" not in message.strip()
    return message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "values"),
    [
        (
            "config.json",
            {
                "model_type": "evil",
                "auto_map": {"AutoConfig": "configuration_evil.EvilConfig"},
            },
        ),
        # a type that the library knows, with another class
        (
            "config.json",
            {
                "auto_map": {
                    "AutoModelForSequenceClassification": "modeling_evil.EvilModel"
                }
            },
        ),
        (
            "tokenizer_config.json",
            {"auto_map": {"AutoTokenizer": ["tokenization_evil.EvilTokenizer", None]}},
        ),
        ("config.json", {"auto_map": {"AutoModel": "org/repo--modeling.EvilModel"}}),
        ("config.json", {"text_config": {"auto_map": {"AutoModel": "a.EvilModel"}}}),
        ("processor_config.json", {"auto_map": {"AutoProcessor": "p.EvilProcessor"}}),
        ("config.json", {"attn_implementation": "org/kernel:attention"}),
    ],
)
def test_custom_code_is_refused_and_not_run(
    folder: Path, marker: Path, file: str, values: dict[str, Any]
) -> None:
    """One line says that code of a model is never run; its files are not imported."""
    change(folder, file, **values)

    with pytest.raises(ModelError) as error:
        load_everything(folder)

    assert "never runs code that comes with a model" in one_line(error)
    assert not marker.exists()


def test_names_of_the_librarys_own_classes_load_those(
    folder: Path, marker: Path
) -> None:
    """Models that became part of the library keep `auto_map`: its classes are taken."""
    names = {
        "AutoConfig": "configuration_evil.BertConfig",
        "AutoModelForSequenceClassification": (
            "modeling_evil.BertForSequenceClassification"
        ),
    }
    change(folder, "config.json", auto_map=names)

    load_everything(folder)

    assert not marker.exists()
    network = load_network("classifier", folder, "mine")
    assert type(network).__module__.startswith("transformers.models.bert")


@pytest.mark.slow
def test_standard_input_is_not_asked(folder: Path, marker: Path) -> None:
    """With `yes` on standard input nothing is run: no library gets to ask."""
    names = {"AutoConfig": "configuration_evil.EvilConfig"}
    change(folder, "config.json", model_type="evil", auto_map=names)
    script = (
        "from pathlib import Path; from safebench.torch_utils import ModelFolder; "
        f"ModelFolder(Path({str(folder)!r}), 'mine').config()"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        input="y\n" * 50,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )

    assert done.returncode
    assert "ModelError" in done.stderr
    assert not marker.exists()


class _Runs:
    """What a pickle would call when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("kind", ["torch", "bare", "legacy"])
def test_pickles_that_run_code_are_refused(folder: Path, kind: str) -> None:
    """Weights as a pickle with unsafe globals are not read, and the remedy is named."""
    marker = folder.parent / "ran"
    (folder / "model.safetensors").unlink()
    path = folder / "pytorch_model.bin"
    content = {"classifier.weight": _Runs(marker)}
    if kind == "bare":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "torch")

    with pytest.raises(ModelError) as error:
        load_network("classifier", folder, "mine")

    assert one_line(error)
    assert not marker.exists()
    assert "never runs code" in error.value.message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"hidden_size": "big"}, "hidden_size"),
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": 0}, "cannot be loaded"),
        ({"id2label": ["a", "b"]}, "cannot be loaded"),
        ({"id2label": {"x": "a"}}, "cannot be loaded"),
        ({"dtype": "floaty"}, "floaty"),
        ({"hidden_act": "odd"}, "odd"),
        ({"model_type": "nope"}, "nope"),
        ({"vocab_size": 33}, "size mismatch of bert.embeddings"),
        ({"num_hidden_layers": 2}, "weights are not in its files, first bert.encoder"),
        # bombs
        ({"num_hidden_layers": 10_000_000}, "num_hidden_layers is 10000000"),
        ({"n_layer": 10**9}, "n_layer"),
        ({"text_config": {"num_experts": 10**8}}, "num_experts"),
        ({"num_labels": 10**9}, "num_labels"),
        ({"vocab_size": 10**11}, "parameters"),
        ({"max_position_embeddings": 10**10}, "parameters"),
        ({"intermediate_size": 10**10}, "parameters"),
    ],
)
@pytest.mark.parametrize("new_head", [False, True])
def test_malformed_configurations_are_one_line(
    folder: Path, changes: dict[str, Any], expected: str, new_head: bool
) -> None:
    """Wrong types, shapes and sizes are named at once, with a new head as without."""
    change(folder, "config.json", **changes)
    started = time.process_time()

    with pytest.raises(ModelError) as error:
        load_network("classifier", folder, "mine", new_head=new_head)

    assert expected in one_line(error)
    assert time.process_time() - started < 10


@pytest.mark.parametrize("content", ["[" * 100_000, "{", "[]", "\xff", "3"])
def test_what_is_no_json_object_is_one_line(folder: Path, content: str) -> None:
    """Deep nesting, cut files and other values are told by the file's name."""
    (folder / "config.json").write_bytes(content.encode("latin-1"))

    with pytest.raises(ModelError, match=r"config\.json is no JSON"):
        load_config(folder, "mine")


@pytest.mark.parametrize("keep", [0, 7, 300, -10])
def test_cut_weights_are_one_line(folder: Path, keep: int) -> None:
    """Safetensors that lack a piece, whole files and tensors alone."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(ModelError, match="'mine' cannot be loaded") as error:
        load_network("classifier", folder, "mine")
    one_line(error)
    with pytest.raises(ModelError, match="'mine' cannot be loaded") as error:
        load_tensors(path, "mine")
    one_line(error)


def test_a_new_head_draws_the_head_alone(folder: Path) -> None:
    """Classes of another number start anew, and the body comes from the files."""
    changes = {"num_labels": 3}
    network = load_network("classifier", folder, "mine", new_head=True, changes=changes)

    plain = BertForSequenceClassification.from_pretrained(folder)
    assert 3 == network.num_labels
    assert torch.equal(
        network.bert.embeddings.word_embeddings.weight,
        plain.bert.embeddings.word_embeddings.weight,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-30]),
        lambda path: path.write_bytes(b"PK\x03\x04"),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: np.savez(path, a=np.array([{"x": 1}], dtype=object)),
        lambda path: np.savez(path, b=np.ones(3)),
        lambda path: np.savez(path, a=np.array([np.nan])),
        lambda path: np.savez_compressed(path, a=np.zeros(30_000_000)),
        lambda path: path.write_bytes(pickle.dumps(_Runs(path.with_name("ran")))),
    ],
)
def test_damaged_arrays_are_one_line(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """Cut, empty, missing, object arrays, other names, NaN, and a zip bomb."""
    path = tmp_path / "weights.npz"
    np.savez(path, a=np.arange(4.0))
    assert [0, 1, 2, 3] == load_arrays(path, "a")["a"].tolist()
    spoil(path)

    with pytest.raises(ModelError, match=r"weights\.npz") as error:
        load_arrays(path, "a")

    one_line(error)
    assert not (tmp_path / "ran").exists()


def test_a_header_that_lies_about_its_length_is_one_line(tmp_path: Path) -> None:
    """An array of 10^15 numbers in a file of a few bytes is not allocated."""
    path = tmp_path / "weights.npz"
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,)}"
    data = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", data + header.encode() + b"\n")

    with pytest.raises(ModelError, match=r"weights\.npz cannot be read") as error:
        load_arrays(path, "a")
    one_line(error)


def grow(tokenizer: Tokenizer) -> None:
    """Make 2^40 characters of one."""
    steps = [normalizers.Replace("a", "aa") for _ in range(40)]
    tokenizer.normalizer = normalizers.Sequence(steps)


def grow_by_expression(tokenizer: Tokenizer) -> None:
    """Make a million characters of each."""
    tokenizer.normalizer = normalizers.Replace(Regex("."), "x" * 1_000_000)


def backtrack(tokenizer: Tokenizer) -> None:
    """Take exponential time for runs of one letter."""
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"(a+)+$"), "isolated")


def backtrack_while_normalizing(tokenizer: Tokenizer) -> None:
    """Take exponential time for words."""
    tokenizer.normalizer = normalizers.Replace(Regex(r"(\w+\s?)*$"), "b")


def surround(tokenizer: Tokenizer) -> None:
    """Put five thousand tokens before each text."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=["[PAD]"] * 5000 + ["$A"], special_tokens=[("[PAD]", 0)]
    )


def read_long_words(tokenizer: Tokenizer) -> None:
    """Take quadratic time for long words."""
    tokenizer.model = models.WordPiece(
        {"[UNK]": 0, "a": 1}, unk_token="[UNK]", max_input_chars_per_word=10**9
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "trap",
    [
        grow,
        grow_by_expression,
        backtrack,
        backtrack_while_normalizing,
        surround,
        read_long_words,
    ],
)
def test_tokenizer_bombs_are_refused(
    folder: Path, trap: Callable[[Tokenizer], None]
) -> None:
    """In bounded time, before they read a text, in one line."""
    tokenizer = word_tokenizer()
    trap(tokenizer)
    tokenizer.save(str(folder / "tokenizer.json"))
    started = time.process_time()

    with pytest.raises(ModelError, match=r"its tokenizer\.json") as error:
        load_tokenizer(folder, "mine")

    one_line(error)
    assert time.process_time() - started < 30


@pytest.mark.slow
@pytest.mark.parametrize(
    "expression",
    [r"\w+|[^\w\s]+", r"'s|'t|\p{L}+|\p{N}{1,3}|\s+", r"(?<=a)b|a(?=b)"],
)
def test_plain_expressions_are_kept(folder: Path, expression: str) -> None:
    """An expression that ends is tried, and its tokenizer loaded."""
    tokenizer = word_tokenizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(expression), "isolated")
    tokenizer.save(str(folder / "tokenizer.json"))

    assert load_tokenizer(folder, "mine")("a b")["input_ids"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"megatron_config": {"x": 1}, "megatron_core": "evil"}, "never runs code"),
        ({"r": 10**9}, "r is 1000000000"),
        ({"layer_replication": [[0, 10**7]]}, "layer_replication"),
        ({"peft_type": "NOPE"}, "cannot be loaded"),
        ({"target_modules": 3}, "cannot be loaded"),
    ],
)
def test_adapters_are_read_as_carefully(
    folder: Path, changes: dict[str, Any], expected: str
) -> None:
    """Modules to import, ranks without bound and odd values are one line."""
    adapter = folder.parent / "adapter"
    network = load_network("classifier", folder, "mine")
    lora = peft.LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS")
    with quiet_transformers():
        peft.get_peft_model(network, lora).save_pretrained(adapter)
    change(adapter, "adapter_config.json", **changes)

    with pytest.raises(ModelError) as error:
        load_adapters(
            load_network("classifier", folder, "mine"), {"default": adapter}, "mine"
        )

    assert expected in one_line(error)


@pytest.mark.parametrize(
    "quantization",
    [
        {"quant_method": "foo", "bits": 4},
        {"quant_method": "GPTQ2"},
        {"quant_method": 4},
        {"bits": 4},
        {"quant_method": ["gptq"]},
    ],
    ids="-".join,
)
def test_unknown_quantizations_are_refused(
    folder: Path, quantization: dict[str, Any]
) -> None:
    """The library reads the numbers without their scales, with no more than a log."""
    change(folder, "config.json", quantization_config=quantization)

    with pytest.raises(ModelError) as error:
        load_network("classifier", folder, "mine")

    assert "quant" in one_line(error)
