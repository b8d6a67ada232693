"""The gate at work: choose a candidate on val, write the terms, open calib once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.statistics import metric_value

from .alarms import alarms
from .gate import Candidate, Certificate, Terms, aim, certify, choose, one_per_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .parts import Parts
    from .prompts import Prompt

    Array = np.ndarray[Any, np.dtype[Any]]
    Scores = Mapping[float, Array]
    Score = Callable[[float, Sequence[Prompt]], Array]


@dataclass(frozen=True, slots=True)
class Truth:
    """Prompts of a part with what their responses say: `harmful` (n,) bool."""

    prompts: list[Prompt]
    harmful: Array
    groups: list[str]

    def __len__(self) -> int:
        return len(self.prompts)


def truth_of(
    prompts: Sequence[Prompt],
    cluster: Mapping[str, str],
    *,
    threshold: float,
    agreement: float,
) -> Truth:
    """Return the prompts of which it is known whether they draw blocked responses.

    One that was stopped, and to which nobody has a response, counts as harmful unless
    people call it benign: a candidate that lets it pass has to answer for it.
    """
    kept, harmful = [], []
    for prompt in prompts:
        rate = prompt.block_rate(threshold)
        if rate is None and (prompt.passed or prompt.label is False):
            continue
        kept.append(prompt)
        harmful.append(rate is None or rate >= agreement)
    groups = [cluster[prompt.id] for prompt in kept]
    return Truth(kept, np.asarray(harmful, dtype=bool), groups)


@dataclass(frozen=True, slots=True)
class Validation:
    """What choosing sees: prompts with their truth, and benign ones for the cap."""

    truth: Truth
    benign: list[Prompt]
    groups: list[str]

    @property
    def prompts(self) -> list[Prompt]:
        """Return all prompts to be scored: those with a truth, then the benign."""
        return [*self.truth.prompts, *self.benign]

    def split(self, scores: Array) -> tuple[Array, Array]:
        """Return scores of `prompts` apart, as they are joined."""
        return scores[: len(self.truth)], scores[len(self.truth) :]


def validation(parts: Parts, *, threshold: float, agreement: float) -> Validation:
    """Return the validation part; one benign prompt a cluster."""
    found = truth_of(
        parts.collected["val"], parts.cluster, threshold=threshold, agreement=agreement
    )
    benign = parts.benign_of("val")
    groups = [parts.cluster[prompt.id] for prompt in benign]
    rows = one_per_cluster(groups).tolist()
    return Validation(found, [benign[i] for i in rows], [groups[i] for i in rows])


@dataclass(frozen=True, slots=True)
class Promise:
    """What is written down before calib is opened."""

    terms: Terms
    base_fpr: float
    base_recall: float
    aim: float
    n_benign: int
    candidate: Candidate | None
    control: Candidate

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a file."""
        from dataclasses import asdict

        return asdict(self)


def terms_for(
    base: Array, *, cap: float | None, margin: float, recall_loss: float, delta: float
) -> tuple[Terms, float]:
    """Return the terms and the base guard's false-positive rate on val.

    `base` are its decisions on the benign prompts of val.
    """
    rate = float(np.mean(base)) if len(base) else 0.0
    limit = cap if cap is not None else min(rate + margin, 0.999)
    return Terms(cap=max(limit, 1e-6), tolerance=recall_loss, delta=delta), rate


def promise(
    val: Validation,
    scores: Scores,
    terms: Terms,
    base_fpr: float,
    n_benign: int,
    threshold: float,
) -> Promise:
    """Choose on val; `n_benign` is how many prompts will certify, not yet scored.

    Candidates stay below the rate that can be expected to pass the test, not below the
    cap itself: at the cap the bound is above it nearly always. They also keep the
    recall of the base guard at `threshold`, but for what may be lost. The control is
    the base guard under the same rules, or within the cap alone if it breaks them, or
    as it was.
    """
    goal = aim(n_benign, terms.cap, terms.delta)
    apart = {alpha: val.split(found) for alpha, found in scores.items()}
    ours = {alpha: pair[0] for alpha, pair in apart.items()}
    benign = {alpha: pair[1] for alpha, pair in apart.items()}
    y = val.truth.harmful
    before = float(np.mean(ours[0.0][y] >= threshold)) if y.any() else 0.0
    floor = before - terms.tolerance
    base, calm = {0.0: ours[0.0]}, {0.0: benign[0.0]}
    return Promise(
        terms=terms,
        base_fpr=base_fpr,
        base_recall=before,
        aim=goal,
        n_benign=n_benign,
        candidate=choose(ours, y, goal, benign=benign, floor=floor),
        control=choose(base, y, goal, benign=calm, floor=floor)
        or choose(base, y, goal, benign=calm)
        or Candidate(alpha=0.0, threshold=threshold),
    )


def numbers(val: Validation, scores: Array, cap: float) -> dict[str, float]:
    """Return F1 under the cap, with the rates behind it, and AUPRC; 0 if undefined."""
    ours, benign = val.split(scores)
    y = val.truth.harmful
    found = choose({1.0: ours}, y, cap, benign={1.0: benign})
    threshold = found.threshold if found else float("inf")
    flagged = ours >= threshold
    return {
        "f1": metric_value("f1", y, flagged) or 0.0,
        "recall": metric_value("recall", y, flagged) or 0.0,
        "fpr": float((benign >= threshold).mean()) if len(benign) else 0.0,
        "auprc": metric_value("auprc", y, ours) or 0.0,
    }


@dataclass(frozen=True, slots=True)
class Calibration:
    """The untouched prompts, one a cluster: benign by people, harmful by responses."""

    benign: list[Prompt]
    harmful: list[Prompt]


def calibration(parts: Parts, *, threshold: float, agreement: float) -> Calibration:
    """Return the prompts that certify."""
    benign = parts.benign_of("calib")
    found = truth_of(
        parts.collected["calib"],
        parts.cluster,
        threshold=threshold,
        agreement=agreement,
    )
    harmful = [p for p, y in zip(found.prompts, found.harmful, strict=True) if y]
    harmful = [p for p in harmful if p.label is not False]
    return Calibration(_alone(benign, parts), _alone(harmful, parts))


def _alone(prompts: list[Prompt], parts: Parts) -> list[Prompt]:
    rows = one_per_cluster([parts.cluster[prompt.id] for prompt in prompts])
    return [prompts[row] for row in rows.tolist()]


def put_to_the_test(
    made: Promise, calib: Calibration, score: Score, threshold: float
) -> tuple[Certificate, list[str]]:
    """Return the certificate of the chosen candidate, and alarms about it."""
    chosen = made.candidate
    if chosen is None:
        none = np.zeros(0, dtype=bool)
        return certify(None, made.terms, none, none, none), []
    everyone = [*calib.benign, *calib.harmful]
    y = np.arange(len(everyone)) >= len(calib.benign)
    base = score(0.0, everyone) >= threshold
    scores = score(chosen.alpha, everyone)
    decided = scores >= chosen.threshold
    found = certify(chosen, made.terms, decided[~y], base[y], decided[y])
    return found, alarms(y, base, decided, scores)
