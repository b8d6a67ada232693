"""Load encoders quietly, and say in one line what is wrong with one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import transformers

from safebench.errors import ModelError
from safebench.neural.loading import load_tokenizer, one_line, quiet

if TYPE_CHECKING:
    from pathlib import Path


def load_padding_tokenizer(folder: Path, label: str) -> Any:
    """Return the fast tokenizer of a folder; `ModelError` if it cannot pad."""
    tokenizer = load_tokenizer(folder, label)
    if tokenizer.pad_token_id is None:
        raise ModelError(f"model {label!r}: its tokenizer has no padding token")
    return tokenizer


def load_classifier(folder: Path, label: str, dtype: torch.dtype) -> Any:
    """Return a sequence classifier; `ModelError` if a weight is not in its files."""
    load: Any = transformers.AutoModelForSequenceClassification.from_pretrained
    with quiet(), one_line(label):
        network, report = load(
            folder,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"model {label!r} is no classifier: {missing[0]} is not in its files; an "
            "encoder without a head is a --base for safebench train bert_ensemble"
        )
    return network.eval()


def load_encoder(folder: Path, label: str, dtype: torch.dtype) -> Any:
    """Return an encoder without any head."""
    load: Any = transformers.AutoModel.from_pretrained
    with quiet(), one_line(label):
        network = load(
            folder, dtype=dtype, local_files_only=True, trust_remote_code=False
        )
    return network.eval()


def new_classifier(folder: Path, label: str, classes: tuple[str, ...]) -> Any:
    """Return an encoder in float32 with a new head, drawn from torch's generator."""
    load: Any = transformers.AutoModelForSequenceClassification.from_pretrained
    with quiet(), one_line(label):
        return load(
            folder,
            # a checkpoint in bfloat16 would lose small updates
            dtype=torch.float32,
            num_labels=len(classes),
            id2label=dict(enumerate(classes)),
            label2id={name: i for i, name in enumerate(classes)},
            ignore_mismatched_sizes=True,
            local_files_only=True,
            trust_remote_code=False,
        )
