"""The verdict tree of a sample, from the evidence that its run stored."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError
from safebench.evidence import VerdictTree
from safebench.evidence.scope import SCOPES, sample_keys
from safebench.evidence.store import EvidenceStore
from safebench.files import FileState, file_state
from safebench.isolation import describe_error
from safebench.pipeline.config import load_run_config
from safebench.pipeline.probes import MAIN
from safebench.results.run_files import (
    CONFIG_FILE,
    EVIDENCE_FOLDER,
    MANIFEST_FILE,
    parse_manifest,
)
from safebench.score.tree_view import build_tree_views

from .browsed_runs import check_size, without_surrogates

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safebench.classifiers import Classifier
    from safebench.records import Sample
    from safebench.score import ScoringService
    from safebench.score.tree_view import TreeView

MAX_EVIDENCE_BYTES = 2 * 2**30
_KEY = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class StoredTrees:
    """The trees of a sample, each with its question; `note` says what is missing."""

    trees: tuple[tuple[str, TreeView], ...] = ()
    note: str = ""


def read_stored_trees(
    folder: Path, service: ScoringService, label: Any, sample: Sample | None
) -> StoredTrees:
    """Return the verdict trees that a run stored of a sample.

    `label` is that of the classifier. Its tokens are text if `service` has the model
    loaded, and numbers otherwise: a run folder has no tokenizer.
    """
    try:
        return _read_stored_trees(folder, service, label, sample)
    # folders and evidence come from anywhere: the page is shown without a tree
    except Exception as error:  # noqa: BLE001
        reason = without_surrogates(describe_error(error))
        return StoredTrees(note=f"The stored evidence cannot be shown: {reason}")


def _read_stored_trees(
    folder: Path, service: ScoringService, label: Any, sample: Sample | None
) -> StoredTrees:
    evidence = _evidence_folder(folder, label)
    if evidence is None:
        return StoredTrees()
    if sample is None:
        return StoredTrees(note="Stored evidence is found by the text of its sample.")
    store = _cached_store(evidence, _folder_state(evidence))
    # a run does not say which scope its classifier had: keys of each differ
    keys = (key for scope in SCOPES for key in sample_keys(sample, scope))
    key = next((key for key in keys if key in store), None)
    if key is None:
        return StoredTrees()
    recording = store.load([key], [VerdictTree])
    if recording.traces[0].error is not None:
        return StoredTrees()
    tree = recording.evidence[VerdictTree]
    assert isinstance(tree, VerdictTree)
    model = _loaded_model(folder, service, label)
    trees = build_tree_views(
        tree,
        _token_numbers if model is None else model.token_bytes,
    )
    note = ""
    if model is None:
        note = (
            f"Tokens are shown by their numbers: {label} is not loaded. It is after "
            "its first answer on the page Judge."
        )
    return StoredTrees(trees, note)


def _evidence_folder(folder: Path, label: Any) -> Path | None:
    """Return the shards of a classifier's first pass, None if there are none."""
    try:
        models = parse_manifest(folder / MANIFEST_FILE).get("models", {})
    except (FileNotFoundError, ValueError):
        return None
    key = models.get(label, {}).get("evidence_key")
    # a manifest comes with a folder from anywhere: no key leads out of it
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        return None
    evidence = folder / EVIDENCE_FOLDER / key / MAIN
    return evidence if evidence.is_dir() else None


def _folder_state(folder: Path) -> FileState:
    """Return what changes with any shard; raises DataError for more than is read."""
    shards = sorted(folder.glob("*.npz"))
    for shard in shards:
        check_size(shard, MAX_EVIDENCE_BYTES, "nothing else draws it")
    states = [file_state(shard) for shard in shards]
    size = sum(state[1] for state in states)
    if size > MAX_EVIDENCE_BYTES:
        raise DataError(
            f"it has {size / 2**30:.1f} GiB, and the page reads up to "
            f"{MAX_EVIDENCE_BYTES // 2**30}"
        )
    return tuple(number for state in states for number in state)


@lru_cache(maxsize=4)
def _cached_store(folder: Path, state: FileState) -> EvidenceStore:  # noqa: ARG001
    return EvidenceStore(folder, {VerdictTree})


def _loaded_model(
    folder: Path, service: ScoringService, label: Any
) -> Classifier | None:
    """Return the model of a run's classifier if it is loaded with the same options."""
    config = load_run_config(folder / CONFIG_FILE, {})
    refs = tuple(ref for ref in config.classifiers if ref.label == label)
    if len(refs) != 1:
        return None
    chosen = service.resolve(replace(config, classifiers=refs))
    return service.loaded_model(chosen)


def _token_numbers(tokens: Sequence[int]) -> list[bytes]:
    return [f"#{token}".encode() for token in tokens]
