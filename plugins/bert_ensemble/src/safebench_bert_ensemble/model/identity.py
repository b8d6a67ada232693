"""What identifies a model and its evidence, and what it answers, without loading it.

Needs no torch: evidence that is recorded already is found by the identity alone.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError
from safebench.torch_utils import ModelFolder
from safebench.training import Artifact

from .location import FROZEN_KIND, TFIDF_KIND, find_baseline
from .reading import Reading, find_location, find_reading

if TYPE_CHECKING:
    from pathlib import Path

    from safebench import Capabilities
    from safebench_bert_ensemble.options import (
        EnsembleOptions,
        FrozenOptions,
        TfidfOptions,
    )

    from .location import EnsembleLocation

# Files that, beside the weights, change what a model says.
_CONFIG_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "vocabulary.json",
    "merges.txt",
)
# Beside those, of tokenizers that have no tokenizer.json.
_SLOW_TOKENIZERS = ("*.model", "added_tokens.json", "bpe.codes")
_TOKENIZER_FILES = ("tokenizer.json", "vocab*", "*.model", "merges.txt")
_RECORD_OPTIONS = ("max_length", "truncation", "max_windows", "dtype", "batch_tokens")


def ensemble_identity(options: EnsembleOptions) -> dict[str, Any]:
    """Return the hashes of an ensemble and the options that shape its evidence."""
    location = find_location(options)
    record = {name: getattr(options, name) for name in (*_RECORD_OPTIONS, "task")}
    record["harmful"] = list(options.harmful)
    if options.mc_dropout:
        record["mc_dropout"] = options.mc_dropout
    # Refused here too, where stored evidence would make loading unnecessary.
    reading = find_reading(options, location)
    record |= reading.record
    tokenizer = find_tokenizer(options, location, reading)
    if tokenizer is not None:
        record["tokenizer"] = tokenizer.commit or _files_hash(tokenizer.folder)
    return _identity(location, record)


def ensemble_capabilities(options: EnsembleOptions) -> Capabilities:
    """Return what an ensemble answers: known from its configuration alone."""
    location = find_location(options)
    return find_reading(options, location).capabilities


def find_tokenizer(
    options: EnsembleOptions, location: EnsembleLocation, reading: Reading
) -> ModelFolder | None:
    """Return where the tokenizer is, if it is not the model's own.

    The user's word counts; a profile's only where the model has none. Raises
    `ModelError` for one that is not there.
    """
    name = options.tokenizer
    if not name and not any(map(_has_tokenizer, (location.root, *location.members))):
        name = reading.profile.tokenizer if reading.profile else ""
    if not name:
        return None
    try:
        advice = "; tokenizer=FOLDER names one on disk"
        return ModelFolder.find(name, advice=advice, packaged=False, weights=False)
    except ModelError as error:
        raise ModelError(f"tokenizer of {location.label}: {error.message}") from None


def _has_tokenizer(folder: Path) -> bool:
    return any(any(folder.glob(pattern)) for pattern in _TOKENIZER_FILES)


def tfidf_identity(options: TfidfOptions) -> dict[str, Any]:
    """Return the hashes of a TF-IDF model."""
    location = find_baseline(options.model, TFIDF_KIND, "tfidf", options.revision)
    return _identity(location, {})


def frozen_identity(options: FrozenOptions) -> dict[str, Any]:
    """Return the hashes of a frozen encoder and the options that shape its evidence."""
    location = find_baseline(
        options.model, FROZEN_KIND, "minilm-frozen", options.revision
    )
    record = {name: getattr(options, name) for name in _RECORD_OPTIONS}
    return _identity(location, record)


def _identity(location: EnsembleLocation, record: dict[str, Any]) -> dict[str, Any]:
    """Return the identity; a hub commit stands for the hash of the files."""
    weights = (
        f"{location.label}@{location.commit}"
        if location.commit
        else _folder_hash(location.root)
    )
    return {
        "model": location.label,
        "revision": location.commit,
        "weights": weights,
        "record": record,
    }


def _folder_hash(folder: Path) -> str:
    """Return one hash over weights, configurations and tokenizers of a folder."""
    return _files_hash(folder, Artifact(folder).weights_hash())


def _files_hash(folder: Path, seed: str = "") -> str:
    """Return one hash over the configurations and tokenizers of a folder."""
    digest = hashlib.sha256(seed.encode())
    for path in sorted(filter(_shapes_evidence, folder.rglob("*"))):
        name = path.relative_to(folder).as_posix()
        if not name.startswith("checkpoint-"):  # left by an interrupted training
            digest.update(f"{name}\x1f".encode() + path.read_bytes())
    return f"sha256:{digest.hexdigest()}"


def _shapes_evidence(path: Path) -> bool:
    if path.name in _CONFIG_FILES:
        return True
    slow = any(path.match(pattern) for pattern in _SLOW_TOKENIZERS)
    return slow and not path.with_name("tokenizer.json").is_file()
