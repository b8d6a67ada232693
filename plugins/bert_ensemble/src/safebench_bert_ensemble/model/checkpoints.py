"""Networks and tokenizers from their folders, alone or as the members of an ensemble.

Whatever the libraries raise becomes a `ModelError` of one line.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch

from safebench.errors import ModelError
from safebench.torch_utils import (
    Batcher,
    ModelFolder,
    Placement,
)

from .ensemble import MIN_LENGTH_RATIO, Ensemble, Member
from .location import MEMBER_FILE, check_complete

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TOKENIZER_FILE = "tokenizer.json"


def load_padding_tokenizer(folder: Path, label: str) -> Any:
    """Return the fast tokenizer of a folder; `ModelError` if it cannot pad.

    Training needs batches, and so padding; what classifies can do without.
    """
    tokenizer = ModelFolder(folder, label).tokenizer()
    if tokenizer.pad_token_id is None:
        token = tokenizer.unk_token or tokenizer.eos_token or "[PAD]"
        raise ModelError(
            f"model {label!r}: its tokenizer has no padding token; training would work "
            f'with "pad_token": "{token}" in the tokenizer_config.json of a copy'
        )
    return tokenizer


def set_padding(tokenizer: Any, token: str, label: str) -> None:
    """Give a tokenizer the padding token that a profile names.

    `token` is eos, bos, unk, or one of the vocabulary; `ModelError` if there is none.
    """
    special = {"eos", "bos", "unk"}
    text = getattr(tokenizer, f"{token}_token") if token in special else token
    if text is None or text not in tokenizer.get_vocab():
        raise ModelError(
            f"model {label!r}: its tokenizer has no token {token!r}, with which its "
            "profile pads (pad_token)"
        )
    tokenizer.pad_token = text


def share_padding(network: Any, tokenizer: Any) -> None:
    """Let network and tokenizer agree on the padding id, or on having none.

    Decoders read the last token that is no padding by the id in their configuration,
    and refuse batches without one; files often name it in one of the two places.
    """
    config = network.config
    pad = tokenizer.pad_token_id
    if pad is None:
        stored = getattr(config.get_text_config(), "pad_token_id", None)
        if isinstance(stored, int) and 0 <= stored < len(tokenizer):
            pad = stored
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    config.pad_token_id = config.get_text_config().pad_token_id = pad


def load_classifier(folder: Path, label: str, dtype: torch.dtype) -> Any:
    """Return a sequence classifier; `ModelError` if a weight is not in its files."""
    network = ModelFolder(folder, label).network(
        "classifier",
        dtype=dtype,
        headless_hint="; it is no classifier: an encoder without a head is a --base "
        "for safebench train bert_ensemble",
    )
    return network.eval()


def load_encoder(folder: Path, label: str, dtype: torch.dtype) -> Any:
    """Return an encoder without any head."""
    return ModelFolder(folder, label).network("encoder", dtype=dtype).eval()


def new_classifier(folder: Path, label: str, classes: tuple[str, ...]) -> Any:
    """Return an encoder in float32 with a new head, drawn from torch's generator."""
    return ModelFolder(folder, label).network(
        "classifier",
        # A checkpoint in bfloat16 would lose small updates.
        dtype=torch.float32,
        new_head=True,
        changes={
            "num_labels": len(classes),
            "id2label": dict(enumerate(classes)),
            "label2id": {name: i for i, name in enumerate(classes)},
        },
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
    tokenizer_folder: Path | None = None,
    pad_token: str = "",
    trained_here: bool = True,
    mc_dropout: int = 0,
) -> Ensemble:
    """Return the ensemble of some members.

    Members of one base share the tokenizer at the root; those that were trained from
    several bases have one of their own. `tokenizer_folder` takes the place of all.
    `max_length` 0: as the networks allow; `batch_tokens` 0: what the device holds.
    Those that were not `trained_here` get the inputs that their tokenizer gives, as the
    library would have it. `mc_dropout` is how often each reads a text with dropout; 0:
    once, without.
    """
    placement = Placement.choose(device, dtype)
    shared_folder = tokenizer_folder or root
    shared_tokenizer = (
        ModelFolder(shared_folder, shared_folder.name).tokenizer()
        if tokenizer_folder or (root / TOKENIZER_FILE).is_file()
        else None
    )
    members = []
    for folder in folders:
        label = folder.name if folder == root else f"{root.name}/{folder.name}"
        network = load_classifier(folder, label, placement.dtype)
        network.to(placement.device)
        placement.limit_threads(network)
        has_tokenizer = (folder / TOKENIZER_FILE).is_file() and not tokenizer_folder
        if has_tokenizer or shared_tokenizer is None:
            tokenizer = ModelFolder(folder, label).tokenizer()
        else:
            tokenizer = shared_tokenizer
        if tokenizer_folder:
            _check_vocabulary(network, tokenizer, label)
        if pad_token:
            set_padding(tokenizer, pad_token, label)
        share_padding(network, tokenizer)
        segments = trained_here or "token_type_ids" in tokenizer.model_input_names
        members.append(Member(folder.name, network, tokenizer, segments))
    batcher = Batcher.for_device(placement.device.type, batch_tokens, MIN_LENGTH_RATIO)
    return Ensemble(members, classes, max_length, max_windows, batcher, mc_dropout)


def _check_vocabulary(network: Any, tokenizer: Any, label: str) -> None:
    """Raise `ModelError` for a tokenizer whose ids the network has no rows for."""
    rows = network.get_input_embeddings().num_embeddings
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= rows:
        raise ModelError(
            f"model {label!r} reads {rows} tokens, and its tokenizer writes "
            f"{largest + 1}: is it another model's?"
        )


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
