"""Networks and tokenizers from their folders, alone or as the members of an ensemble.

Whatever the libraries raise becomes a `ModelError` of one line.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
import transformers

from safebench.errors import ModelError
from safebench.torch_utils import (
    choose_threads,
    load_tokenizer,
    model_load_errors,
    pick_device,
    pick_dtype,
    quiet_transformers,
)

from .ensemble import Ensemble, Member
from .location import MEMBER_FILE, check_complete

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TOKENIZER_FILE = "tokenizer.json"


def load_padding_tokenizer(folder: Path, label: str) -> Any:
    """Return the fast tokenizer of a folder; `ModelError` if it cannot pad."""
    tokenizer = load_tokenizer(folder, label)
    if tokenizer.pad_token_id is None:
        raise ModelError(f"model {label!r}: its tokenizer has no padding token")
    return tokenizer


def load_classifier(folder: Path, label: str, dtype: torch.dtype) -> Any:
    """Return a sequence classifier; `ModelError` if a weight is not in its files."""
    load: Any = transformers.AutoModelForSequenceClassification.from_pretrained
    with quiet_transformers(), model_load_errors(label):
        network, report = load(
            folder,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    # The library draws missing weights at random, with no more than a warning.
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
    with quiet_transformers(), model_load_errors(label):
        network = load(
            folder, dtype=dtype, local_files_only=True, trust_remote_code=False
        )
    return network.eval()


def new_classifier(folder: Path, label: str, classes: tuple[str, ...]) -> Any:
    """Return an encoder in float32 with a new head, drawn from torch's generator."""
    load: Any = transformers.AutoModelForSequenceClassification.from_pretrained
    with quiet_transformers(), model_load_errors(label):
        return load(
            folder,
            # A checkpoint in bfloat16 would lose small updates.
            dtype=torch.float32,
            num_labels=len(classes),
            id2label=dict(enumerate(classes)),
            label2id={name: i for i, name in enumerate(classes)},
            ignore_mismatched_sizes=True,
            local_files_only=True,
            trust_remote_code=False,
        )


def load_members(
    folders: Sequence[Path],
    *,
    root: Path,
    classes: Sequence[str],
    max_length: int,
    max_windows: int,
    device: str = "auto",
    dtype: str = "auto",
    batch_tokens: int,
) -> Ensemble:
    """Return the ensemble of some members.

    Members of one base share the tokenizer at the root; those that were trained from
    several bases have one of their own. `max_length` 0: as the networks allow.
    """
    torch_device = pick_device(device)
    shared_tokenizer = (
        load_padding_tokenizer(root, root.name)
        if (root / TOKENIZER_FILE).is_file()
        else None
    )
    members = []
    for folder in folders:
        label = folder.name if folder == root else f"{root.name}/{folder.name}"
        network = load_classifier(folder, label, pick_dtype(dtype, torch_device))
        network.to(torch_device)
        choose_threads(network, torch_device)
        if (folder / TOKENIZER_FILE).is_file() or shared_tokenizer is None:
            tokenizer = load_padding_tokenizer(folder, label)
        else:
            tokenizer = shared_tokenizer
        members.append(Member(folder.name, network, tokenizer))
    return Ensemble(members, classes, max_length, max_windows, batch_tokens)


def read_member_metadata(folder: Path) -> dict[str, Any]:
    """Return what a finished member's folder says of it; `ModelError` if damaged."""
    try:
        metadata = json.loads((folder / MEMBER_FILE).read_text(encoding="utf-8"))
        check_complete(folder)
    except (OSError, ValueError, ModelError):
        raise ModelError(
            f"{folder} is damaged: remove it, and train again with --resume"
        ) from None
    return {"path": folder.name, **metadata}
