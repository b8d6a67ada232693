"""Ensembles: what each member says, and where members disagree.

Member probabilities are read from the run's evidence. Members vote, and are compared
with each other and with their majority, overall, by slices and on single samples. An
error that all members make alike is one that no measure of disagreement can find.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from safebench.evidence import MemberLogits
from safebench.evidence.shard_file import read_header
from safebench.evidence.store import EvidenceStore
from safebench.pipeline.manifest import read_manifest
from safebench.results.run_files import MANIFEST_FILE
from safebench.specs import ClassifierSpec, fields_by_kind

from .agreement import Agreement, compute_agreement
from .request import AnalysisRequest
from .slices import slice_masks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from safebench.plugins import Plugins
    from safebench.results.predictions import StoredPredictions
    from safebench.typing import Array

MEMBER_THRESHOLD = 0.5  # a member votes positive above it
MIN_SLICE_SIZE = 10  # samples: shares of fewer say little
_TIE = 0.5  # share of members that vote positive
_MIN_MEMBERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceDisagreement:
    """A slice of n samples, with how much M members differ on it.

    `disagreement` is the mean over pairs of members, `accuracy` that of the majority (a
    tie is half right), `minority_rate` (M,) the share on which each member is against
    the majority.
    """

    column: str
    value: str
    n: int
    disagreement: float
    accuracy: float
    minority_rate: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberVotes:
    """One sample: the members that vote positive, as positions from 0.

    `mean_probability` and `std` are over the members; `text` if it was asked for.
    """

    id: str
    label: bool
    positive_members: tuple[int, ...]
    mean_probability: float
    std: float
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleDisagreement:
    """M members against their majority; in a tie nobody is against it.

    `n_minority` (M,) counts samples on which a member is against the majority, and
    `n_minority_right` (M,) those of them on which it is right. `n_errors` are wrong
    majorities (ties are none), `n_unanimous_errors` those that all members share.
    `slices` come by disagreement, `unanimous_errors` by confidence, and `most_divided`
    are the samples on which votes are most even.
    """

    n_minority: Array
    n_minority_right: Array
    n_errors: int
    n_unanimous_errors: int
    slices: tuple[SliceDisagreement, ...]
    unanimous_errors: tuple[MemberVotes, ...]
    most_divided: tuple[MemberVotes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleMembers:
    """The members of one classifier on one dataset.

    `n_by_votes` (M + 1,) counts the samples on which 0, 1, ... M members vote positive,
    `n_positive_by_votes` those of them whose label is positive. `mean_probability` and
    `std` (k,) are over the members of each sample, `wrong` (k,) whether the decision of
    the mean is.
    """

    classifier: str
    agreement: Agreement
    disagreement: EnsembleDisagreement
    n_by_votes: Array
    n_positive_by_votes: Array
    mean_probability: Array
    std: Array
    wrong: Array


def read_ensembles(
    folder: Path,
    all_predictions: Sequence[StoredPredictions],
    plugins: Plugins,
    request: AnalysisRequest | None = None,
) -> list[EnsembleMembers]:
    """Return the members of each classifier and dataset that recorded some.

    Strategies share the evidence of their classifier, so one of them is enough. Any
    evidence class that is a `MemberLogits` will do.
    """
    request = request or AnalysisRequest()
    keys = _evidence_keys(folder)
    kinds = member_evidence_kinds(plugins)
    ensembles: dict[tuple[str, str], EnsembleMembers | None] = {}
    for predictions in all_predictions:
        place = (predictions.classifier, predictions.dataset)
        key = keys.get(predictions.classifier)
        if place not in ensembles and key is not None:
            evidence = folder / "evidence" / key
            ensembles[place] = _read_ensemble(evidence, predictions, kinds, request)
    return [members for members in ensembles.values() if members is not None]


def member_evidence_kinds(plugins: Plugins) -> dict[str, type[MemberLogits]]:
    """Return the evidence classes with members, by the ids that stored shards use."""
    kinds: dict[str, type[MemberLogits]] = {MemberLogits.kind_id: MemberLogits}
    for spec in plugins.all(ClassifierSpec):
        for kind in (*fields_by_kind(spec.provides), *fields_by_kind(spec.on_request)):
            if issubclass(kind, MemberLogits):
                kinds[kind.kind_id] = kind
    return kinds


def _evidence_keys(folder: Path) -> dict[str, str]:
    """Return the evidence key of each classifier that a run has finished."""
    models = read_manifest(folder / MANIFEST_FILE).get("models")
    if not isinstance(models, dict):  # damaged: the next run mends it
        return {}
    return {
        label: str(model["evidence_key"])
        for label, model in models.items()
        if isinstance(model, dict) and "evidence_key" in model
    }


def _read_ensemble(
    folder: Path,
    predictions: StoredPredictions,
    kinds: dict[str, type[MemberLogits]],
    request: AnalysisRequest,
) -> EnsembleMembers | None:
    """Return the members, or None where the evidence holds no ensemble."""
    shards = sorted((folder / "main").glob("[0-9]*.npz"))
    headers = filter(None, map(read_header, shards))
    stored = (kind for header in headers for kind in header["kinds"] if kind in kinds)
    kind = next((kinds[kind] for kind in stored), None)
    if kind is None:
        return None
    store = EvidenceStore(folder / "main", {kind}, key=folder.name)
    key_of_content = dict(_evidence_rows(store.keys(), predictions.task))
    rows = [
        row
        for row, content in enumerate(predictions.content)
        if content in key_of_content
    ]
    if not rows:
        return None
    recording = store.load(
        [key_of_content[predictions.content[row]] for row in rows], [kind]
    )
    batch = recording.evidence[kind]
    assert isinstance(batch, MemberLogits)
    p = positive_probability(batch, predictions.task)
    if p is None or p.shape[1] < _MIN_MEMBERS:
        return None
    usable = np.array([trace.error is None for trace in recording.traces])
    usable &= ~np.isnan(p).any(axis=1)
    if not usable.any():
        return None
    names = batch.meta["members"]
    return _summarize(predictions, names, p[usable], np.array(rows)[usable], request)


def _evidence_rows(keys: Iterable[str], task: str) -> Iterator[tuple[str, str]]:
    """Yield (content, key) for the stored rows that serve a task.

    A key is the content's hash alone, ``content:turn`` where one answer serves every
    task of a turn, or ``content:N:task`` where the evidence depends on what was asked.
    """
    for key in keys:
        content, _, scope = key.partition(":")
        if scope in ("", "turn") or scope.rpartition(":")[2] == task:
            yield content, key


def positive_probability(batch: MemberLogits, task: str) -> Array | None:
    """Return P(positive) of each member, (B, M), of the window where it is highest.

    NaN for samples without a window; None if no class speaks of the task.
    """
    signs = np.array(batch.polarity(task))
    if not signs.any():
        return None
    logits = batch["logits"].astype(float)  # (W, M, C)
    softmax = batch.meta["link"] == "softmax"
    p_class = special.softmax(logits, axis=2) if softmax else special.expit(logits)
    if (signs > 0).any():
        of_positive = p_class[:, :, signs > 0]
        # softmax classes exclude each other and add up; independent ones do not
        p = of_positive.sum(axis=2) if softmax else of_positive.max(axis=2)
    else:
        p = 1 - p_class[:, :, signs < 0].max(axis=2)
    starts = batch.offsets["W"]
    p_sample = np.full((len(batch), p.shape[1]), np.nan)
    has_window = np.diff(starts) > 0
    if has_window.any():
        # reduceat takes starts alone, so samples without a window are left out of them
        p_sample[has_window] = np.maximum.reduceat(p, starts[:-1][has_window], axis=0)
    return p_sample


def _summarize(
    predictions: StoredPredictions,
    names: Sequence[str],
    p: Array,
    rows: Array,
    request: AnalysisRequest,
) -> EnsembleMembers:
    """Return all about members with P(positive) `p` (k, M) on samples `rows` (k,)."""
    votes, y = p > MEMBER_THRESHOLD, predictions.y[rows]
    n_votes = votes.sum(axis=1)
    title = f"members of {predictions.classifier}"
    return EnsembleMembers(
        classifier=predictions.classifier,
        agreement=compute_agreement(title, predictions.dataset, names, votes, y),
        disagreement=ensemble_disagreement(predictions, p, rows, request),
        n_by_votes=np.bincount(n_votes, minlength=len(names) + 1),
        n_positive_by_votes=np.bincount(n_votes, y, len(names) + 1).astype(np.int64),
        mean_probability=p.mean(axis=1),
        std=p.std(axis=1),
        wrong=(p.mean(axis=1) > MEMBER_THRESHOLD) != y,
    )


def ensemble_disagreement(
    predictions: StoredPredictions, p: Array, rows: Array, request: AnalysisRequest
) -> EnsembleDisagreement:
    """Compare members with P(positive) `p` (k, M) on samples `rows` (k,)."""
    votes, y = p > MEMBER_THRESHOLD, predictions.y[rows]
    # exact for a tie of any even number of members: a half has no rounding
    share = votes.mean(axis=1)
    tie, majority = share == _TIE, share > _TIE
    minority = (votes != majority[:, None]) & ~tie[:, None]
    wrong = (majority != y) & ~tie
    unanimous = (share == 0) | (share == 1)
    confidence = np.abs(p.mean(axis=1) - MEMBER_THRESHOLD)
    evenness = (-p.std(axis=1), np.abs(share - _TIE))
    examples = [
        tuple(
            _member_votes(
                predictions, int(rows[index]), p[index], text=request.include_text
            )
            for index in order
        )
        for order in (
            _first_of(wrong & unanimous, (-confidence,), request.n_examples),
            _first_of(~unanimous, evenness, request.n_examples),
        )
    ]
    return EnsembleDisagreement(
        n_minority=minority.sum(axis=0),
        n_minority_right=(minority & (votes == y[:, None])).sum(axis=0),
        n_errors=int(wrong.sum()),
        n_unanimous_errors=int((wrong & unanimous).sum()),
        slices=tuple(
            _slice_disagreements(
                predictions, rows, votes, minority, request.slice_columns
            )
        ),
        unanimous_errors=examples[0],
        most_divided=examples[1],
    )


def _first_of(mask: Array, keys: tuple[Array, ...], n: int) -> Array:
    """Return the first `n` indices in the mask, sorted by the last of the keys.

    Ties are broken by the keys before it, as in `numpy.lexsort`.
    """
    order = np.lexsort(keys)
    first: Array = order[mask[order]][:n]
    return first


def _member_votes(
    predictions: StoredPredictions, row: int, p: Array, *, text: bool
) -> MemberVotes:
    # looked at for its text alone: of a large set it is read from the source
    metadata = predictions.metadata[row] if text and predictions.metadata else None
    return MemberVotes(
        id=predictions.ids[row],
        label=bool(predictions.y[row]),
        positive_members=tuple(np.flatnonzero(p > MEMBER_THRESHOLD).tolist()),
        mean_probability=float(p.mean()),
        std=float(p.std()),
        text=metadata.text if metadata else None,
    )


def _slice_disagreements(
    predictions: StoredPredictions,
    rows: Array,
    votes: Array,
    minority: Array,
    columns: Sequence[str],
) -> list[SliceDisagreement]:
    """Return slices of at least `MIN_SLICE_SIZE` samples, the most divided first."""
    m = votes.shape[1]
    n_votes = votes.sum(axis=1)
    # pairs with one positive vote, of all pairs
    disagreement = n_votes * (m - n_votes) / (m * (m - 1) / 2)  # (k,)
    share = n_votes / m
    right = np.where(share == _TIE, 0.5, (share > _TIE) == predictions.y[rows])
    slices = []
    for by_column in slice_masks(predictions, columns):
        masks = {value: mask[rows] for value, mask in by_column.masks.items()}
        slices += [
            SliceDisagreement(
                column=by_column.column,
                value=value,
                n=int(mask.sum()),
                disagreement=float(disagreement[mask].mean()),
                accuracy=float(right[mask].mean()),
                minority_rate=minority[mask].mean(axis=0),
            )
            for value, mask in masks.items()
            # a slice of all samples repeats the table of the whole
            if mask.sum() >= MIN_SLICE_SIZE and not mask.all()
        ]
    return sorted(slices, key=lambda entry: -entry.disagreement)
