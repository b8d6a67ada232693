"""What tells two recorded models apart, found without loading any."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from safebench.training.artifact import weights_hash

from .locate import Found, find_baseline, find_ensemble

if TYPE_CHECKING:
    from pathlib import Path

    from .options import EnsembleOptions, FrozenOptions, TfidfOptions

# Beside the weights, these change what a model says.
_SMALL = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "vocabulary.json",
    "merges.txt",
)
_READING = ("max_length", "truncation", "max_windows", "dtype", "batch_tokens")


def ensemble_identity(options: EnsembleOptions) -> dict[str, Any]:
    """Return the hashes of an ensemble and the options that shape its evidence."""
    found = find_ensemble(options.model, options.revision)
    record = {name: getattr(options, name) for name in (*_READING, "task")}
    record["harmful"] = list(options.harmful)
    return _identity(found, record)


def tfidf_identity(options: TfidfOptions) -> dict[str, Any]:
    """Return the hashes of a TF-IDF model."""
    return _identity(find_baseline(options.model, "tfidf", "tfidf"), {})


def frozen_identity(options: FrozenOptions) -> dict[str, Any]:
    """Return the hashes of a frozen encoder and the options that shape its evidence."""
    found = find_baseline(options.model, "frozen_encoder", "minilm-frozen")
    return _identity(found, {name: getattr(options, name) for name in _READING})


def _identity(found: Found, record: dict[str, Any]) -> dict[str, Any]:
    weights = f"{found.label}@{found.commit}" if found.commit else _hashed(found.root)
    return {
        "model": found.label,
        "revision": found.commit,
        "weights": weights,
        "record": record,
    }


def _hashed(folder: Path) -> str:
    """Return one hash over weights, configurations and tokenizers of a folder."""
    digest = hashlib.sha256(weights_hash(folder).encode())
    for path in sorted(p for p in folder.rglob("*") if p.name in _SMALL):
        name = path.relative_to(folder).as_posix()
        if not name.startswith("checkpoint-"):
            digest.update(f"{name}\x1f".encode() + path.read_bytes())
    return f"sha256:{digest.hexdigest()}"
