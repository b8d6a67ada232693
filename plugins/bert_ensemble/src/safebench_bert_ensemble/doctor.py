"""Look into an ensemble: what was loaded, what its classes mean, how it batches."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.evidence import MemberLogits
from safebench.evidence.bundle import Bundle
from safebench.judgements import Context
from safebench.records import Sample, Turn

from .classifier import BertEnsemble
from .identity import ensemble_identity
from .strategies.judging import mean_probs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .options import EnsembleOptions

    Check = tuple[str, str, str]

_ROUNDING = 5e-5  # what batches may change in float32
_FLIPS = 1e-3  # the share of decisions that they may change in bfloat16
_VERBS = ("bake", "steal", "repair", "poison")
_THINGS = (
    "bread",
    "a car",
    "a neighbour's well, which lies behind the old school,",
    "my grandmother's radio",
)


def doctor(options: EnsembleOptions) -> Iterator[Check]:
    """Yield (name, ok | warn | fail, detail) about the ensemble that options name."""
    ensemble = BertEnsemble(options)
    known = ensemble_identity(options)
    yield "model", "ok", f"{known['model']} ({known['weights']})"
    facts = dict(ensemble.facts)
    classes = facts.pop("classes")
    yield "settings", "ok", ", ".join(f"{k} {v}" for k, v in facts.items())
    yield _classes(classes)
    yield _tokens(ensemble)
    yield from _answers(ensemble)


def _classes(classes: dict[str, int]) -> Check:
    meaning = {1: "harm", -1: "safe", 0: "neither"}
    detail = ", ".join(f"{name} = {meaning[sign]}" for name, sign in classes.items())
    guessed = any(name.startswith("LABEL_") for name in classes)
    return "classes", "warn" if guessed else "ok", detail


def _tokens(ensemble: BertEnsemble) -> Check:
    windows = ensemble.ensemble.readers[0][0].windows([("", "Hello.")], 1)
    ids = windows.ids[0]
    return "ids", "ok", f"{len(ids)}: {' '.join(map(str, ids))}"


def _answers(ensemble: BertEnsemble) -> Iterator[Check]:
    texts = [f"How do I {verb} {thing}?" for verb, thing in product(_VERBS, _THINGS)]
    samples = [
        Sample(id=f"probe/{i}", turns=(Turn("user", text * (1 + i % 3)),))
        for i, text in enumerate(texts)
    ]
    together = _score(ensemble, samples)
    alone = np.concatenate([_score(ensemble, [sample]) for sample in samples])
    spread = float(together.max() - together.min())
    detail = f"P(harm) from {together.min():.3f} to {together.max():.3f}"
    yield "answers", "ok" if spread > 0 else "warn", detail
    gap = float(np.abs(together - alone).max())
    flips = int(((together > 0.5) != (alone > 0.5)).sum())  # noqa: PLR2004 - even odds
    exact = ensemble.facts["dtype"] == "float32"
    fine = gap <= _ROUNDING if exact else flips <= _FLIPS * len(samples)
    detail = (
        f"{ensemble.facts['dtype']}, batches of 1 and of up to {len(samples)}: "
        f"max |dP| {gap:.1e}, {flips} of {len(samples)} decisions flip"
    )
    yield "batch invariance", "ok" if fine else "fail" if exact else "warn", detail


def _score(ensemble: BertEnsemble, samples: Sequence[Sample]) -> Any:
    recording = ensemble.record(samples, frozenset({MemberLogits}), lambda _: None)
    bundle = Bundle(recording.evidence)
    return mean_probs(bundle, Context(task=ensemble.task)).score
