"""What the members of an ensemble say one by one, from the evidence of the run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from safebench.evidence import MemberLogits
from safebench.evidence.shard import read_head
from safebench.evidence.store import EvidenceStore
from safebench.run.manifest import MANIFEST
from safebench.specs import ClassifierSpec, fields_by_kind

from .agreement import Agreement, agreement
from .dissent import Dissent, dissent
from .wanted import Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from safebench.plugins import Plugins

    from .predictions import Predictions

    Array = np.ndarray[Any, np.dtype[Any]]

THRESHOLD = 0.5  # above it, a member says positive


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """The members of one classifier on one dataset.

    `tally` (M + 1,): on how many samples 0, 1, ... M members say positive, and of these
    how many are (`positive`). `mean` and `spread` (k,) of the members' probabilities of
    each sample, and whether the mean decides it `wrong`.
    """

    classifier: str
    agreement: Agreement
    dissent: Dissent
    tally: Array
    positive: Array
    mean: Array
    spread: Array
    wrong: Array


def members_of(
    folder: Path,
    found: Sequence[Predictions],
    plugins: Plugins,
    wanted: Wanted | None = None,
) -> list[Members]:
    """Return the members of each classifier and dataset that recorded some.

    Any evidence class that is a `MemberLogits` will do.
    """
    keys = _evidence_keys(folder)
    kinds = member_kinds(plugins)
    done: dict[tuple[str, str], Members | None] = {}
    for predictions in found:
        at = (predictions.classifier, predictions.dataset)
        key = keys.get(predictions.classifier)
        if at not in done and key is not None:
            done[at] = _members(
                folder / "evidence" / key, predictions, kinds, wanted or Wanted()
            )
    return [members for members in done.values() if members is not None]


def member_kinds(plugins: Plugins) -> dict[str, type[MemberLogits]]:
    """Return the evidence classes with members, by the names that shards use."""
    found: dict[str, type[MemberLogits]] = {MemberLogits.kind_id: MemberLogits}
    for spec in plugins.all(ClassifierSpec):
        for kind in (*fields_by_kind(spec.provides), *fields_by_kind(spec.on_request)):
            if issubclass(kind, MemberLogits):
                found[kind.kind_id] = kind
    return found


def _evidence_keys(folder: Path) -> dict[str, str]:
    """Return the evidence key of each classifier that a run has finished."""
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    models = json.loads(path.read_text(encoding="utf-8")).get("models", {})
    return {label: model["evidence_key"] for label, model in models.items()}


def _members(
    folder: Path,
    predictions: Predictions,
    kinds: dict[str, type[MemberLogits]],
    wanted: Wanted,
) -> Members | None:
    heads = filter(None, map(read_head, sorted((folder / "main").glob("[0-9]*.npz"))))
    kind = next((kinds[k] for head in heads for k in head["kinds"] if k in kinds), None)
    if kind is None:
        return None
    store = EvidenceStore(folder / "main", {kind})
    asked = dict(_asked(store.places, predictions.task))
    rows = [i for i, c in enumerate(predictions.content) if c in asked]
    if not rows:
        return None
    questions = [asked[predictions.content[i]] for i in rows]
    recording = store.load(questions, [kind])
    batch = recording.evidence[kind]
    good = np.array([trace.error is None for trace in recording.traces])
    assert isinstance(batch, MemberLogits)
    p = positive_probability(batch, predictions.task)
    if p is None or p.shape[1] < 2 or not good.any():  # noqa: PLR2004 - one is no ensemble
        return None
    good &= ~np.isnan(p).any(axis=1)
    if not good.any():
        return None
    names = batch.meta["members"]
    return _tallied(predictions, names, p[good], np.array(rows)[good], wanted)


def _asked(places: Any, task: str) -> Iterator[tuple[str, str]]:
    """Yield (content, question) for the questions that serve a task."""
    for question in places:
        content, _, rest = question.partition(":")
        if not rest or rest.rpartition(":")[2] == task:
            yield content, question


def positive_probability(batch: MemberLogits, task: str) -> Array | None:
    """Return P(positive) of each member, (B, M), of the most alarming window.

    None if no class speaks of the task.
    """
    tasks = batch.meta["tasks"]
    names = batch.meta["classes"]
    signs = np.array(
        [tasks[c][1] if c in tasks and tasks[c][0] == task else 0 for c in names]
    )
    if not signs.any():
        return None
    logits = batch["logits"].astype(float)  # (W, M, C)
    softmax = batch.meta["link"] == "softmax"
    share = special.softmax(logits, axis=2) if softmax else special.expit(logits)
    if (signs > 0).any():
        chosen = share[:, :, signs > 0]
        p = chosen.sum(axis=2) if softmax else chosen.max(axis=2)
    else:
        p = 1 - share[:, :, signs < 0].max(axis=2)
    starts = batch.offsets["W"]
    out = np.full((len(batch), p.shape[1]), np.nan)
    some = np.diff(starts) > 0
    if some.any():
        out[some] = np.maximum.reduceat(p, starts[:-1][some], axis=0)
    return out


def _tallied(
    predictions: Predictions,
    names: Sequence[str],
    p: Array,
    rows: Array,
    wanted: Wanted,
) -> Members:
    votes, y = p > THRESHOLD, predictions.y[rows]
    count = votes.sum(axis=1)
    return Members(
        classifier=predictions.classifier,
        agreement=agreement(
            f"members of {predictions.classifier}",
            predictions.dataset,
            names,
            votes,
            y,
        ),
        dissent=dissent(predictions, p, rows, wanted),
        tally=np.bincount(count, minlength=len(names) + 1),
        positive=np.bincount(count, y, len(names) + 1).astype(np.int64),
        mean=p.mean(axis=1),
        spread=p.std(axis=1),
        wrong=(p.mean(axis=1) > THRESHOLD) != y,
    )
