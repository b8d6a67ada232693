"""Rules of combination: what several judgements of a sample give together.

A part says yes, no or nothing about a sample (it failed). `or` is yes where any part
says yes and no where all say no; `and` is no where any says no. A part that failed
leaves the sample open unless the others decide (Kleene's three values). Under every
other rule a sample that a part it needs failed on has failed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from safebench.errors import DataError, OptionError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array, Floats

RULES = ("or", "and", "mean", "max", "stack", "cascade:LO,HI", "cascade:auto@budget=X")
MIN_RANKED = 20  # scores of the calibration part that ranks are measured among


class CombinationRule(NamedTuple):
    """A rule by its name; a cascade has a band of scores, or a budget to find one.

    `low` and `high` are ends of the band, both inside. `budget` is the largest share
    that is escalated.
    """

    name: str
    text: str
    low: float | None = None
    high: float | None = None
    budget: float | None = None

    @property
    def fitted(self) -> bool:
        """Whether it is fitted to labels of the calibration part."""
        return self.name == "stack" or self.budget is not None


def parse_rule(text: str) -> CombinationRule:
    """Return the rule that a text names; raises OptionError for any other."""
    name, _, arguments = text.strip().casefold().partition(":")
    if name == "cascade":
        return _parse_cascade(text.strip(), arguments)
    if name not in RULES or arguments:
        raise OptionError(
            f"no rule {text!r}{did_you_mean(name, RULES)}; there is: {', '.join(RULES)}"
        )
    return CombinationRule(name, name)


def _parse_cascade(text: str, arguments: str) -> CombinationRule:
    wanted = "cascade:LO,HI takes two scores, as in cascade:0.2,0.8; or a budget, as in"
    problem = OptionError(f"{text!r}: {wanted} cascade:auto@budget=0.2")
    if arguments.startswith("auto"):
        key, _, number = arguments.removeprefix("auto").partition("=")
        budget = _number(number)
        if key != "@budget" or budget is None or not 0 < budget < 1:
            raise problem
        return CombinationRule(
            "cascade", f"cascade:auto@budget={budget:g}", budget=budget
        )
    low, comma, high = arguments.partition(",")
    ends = (_number(low), _number(high))
    if not comma or ends[0] is None or ends[1] is None:
        raise problem
    if ends[0] > ends[1]:
        raise OptionError(f"{text!r}: no score is from {ends[0]:g} to {ends[1]:g}")
    # As it reads back: two bands that differ have two names.
    shown = ",".join(
        f"{end:g}" if float(f"{end:g}") == end else repr(end)
        for end in ends
        if end is not None
    )
    return CombinationRule("cascade", f"cascade:{shown}", *ends)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return None if np.isnan(number) else number


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """What one part says of n samples, columns (n,) float, NaN where it says nothing.

    `lower` and `upper` bound the score. `failed` (n,) bool. `threshold` is that of its
    decisions (None: they follow another rule), `probability` whether scores claim to
    be P(positive), `scale` names what else has scores that compare with these.
    """

    label: str
    score: Floats
    decision: Floats
    lower: Floats
    upper: Floats
    failed: Array
    threshold: float | None = None
    probability: bool = False
    scale: str = ""

    def ends(self) -> tuple[Floats, Floats]:
        """Return where the score may lie: anywhere for a sample that failed."""
        least, most = (0.0, 1.0) if self.probability else (-np.inf, np.inf)
        low = np.where(np.isnan(self.lower), self.score, self.lower)
        high = np.where(np.isnan(self.upper), self.score, self.upper)
        return (
            np.where(self.failed, least, low),
            np.where(self.failed, most, high),
        )

    @property
    def bounded(self) -> bool:
        """Whether any score has bounds."""
        return not (np.isnan(self.lower).all() and np.isnan(self.upper).all())

    @property
    def ranks(self) -> bool:
        """Whether there is any score."""
        return not np.isnan(self.score).all()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """The calibration part: its `rows` (n,) bool, with labels `y` (n,), NaN elsewhere.

    `allowed` (n,) bool are the samples that rules may be fitted to.
    """

    ids: Sequence[str]
    allowed: Array
    rows: Array
    y: Floats
    groups: Sequence[str]


class BoundedScores(NamedTuple):
    """Combined scores and their bounds, (n,) float each, NaN where there is none."""

    score: Floats
    lower: Floats
    upper: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Combined:
    """What a rule gives: columns (n,) as those of a part, NaN where it gives nothing.

    `asked` (K, n) bool tells which part had to judge which sample. `fitted` is what was
    found on the calibration part, as JSON.
    """

    score: Floats
    decision: Floats
    lower: Floats
    upper: Floats
    asked: Array
    threshold: float | None
    probability: bool
    notes: tuple[str, ...] = ()
    fitted: dict[str, object] = field(default_factory=dict)


def every_part_asked(
    parts: Sequence[Part],
    decision: Floats,
    scores: BoundedScores,
    threshold: float | None,
    notes: Sequence[str] = (),
    *,
    probability: bool | None = None,
) -> Combined:
    """Return what a rule gives that asks every part about every sample.

    Without `probability` scores are probabilities if those of all parts are.
    """
    if probability is None:
        probability = all(part.probability for part in parts)
    return Combined(
        score=scores.score,
        decision=decision,
        lower=scores.lower,
        upper=scores.upper,
        asked=np.ones((len(parts), len(decision)), dtype=bool),
        threshold=threshold,
        probability=probability and not np.isnan(scores.score).all(),
        notes=tuple(notes),
    )


def by_decisions(parts: Sequence[Part], *, any_is_enough: bool) -> Combined:
    """`or`, and by De Morgan `and`: not (not A or not B)."""
    _require_decisions(parts, "or" if any_is_enough else "and")
    decisive = 1.0 if any_is_enough else 0.0
    decisions = np.stack([part.decision for part in parts])
    decided = np.full(decisions.shape[1], np.nan)
    decided[(decisions == 1 - decisive).all(axis=0)] = 1 - decisive
    decided[(decisions == decisive).any(axis=0)] = decisive
    threshold, notes = _common_threshold(parts)
    open_ = np.isnan(decided)
    n_saved = int((np.isnan(decisions).any(axis=0) & ~open_).sum())
    if n_saved:
        notes.append(f"{n_saved} samples that a part failed on are decided by the rest")
    if open_.any():
        notes.append(f"{open_.sum()} samples that a part failed on are left open")
    if why := _why_not_one_scale(parts):
        notes.append(f"no score, decisions alone: {why}")
        scores = no_scores(len(decided))
    else:
        scores = _extreme(parts, open_, highest=any_is_enough)
    return every_part_asked(parts, decided, scores, threshold, notes)


def no_scores(n: int) -> BoundedScores:
    """Return the columns of what has no score."""
    none = np.full(n, np.nan)
    return BoundedScores(none, none, none)


def _extreme(parts: Sequence[Part], open_: Array, *, highest: bool) -> BoundedScores:
    """Return the largest (smallest) score of each sample, and its bounds.

    There is none for samples that are `open_`. Of one that some parts failed on, and
    the others decide, it is that of the others; the bounds say what is not known.
    """
    extreme, of_known = (np.max, np.fmax) if highest else (np.min, np.fmin)
    score = of_known.reduce(np.stack([part.score for part in parts]), axis=0)
    for part in parts:  # a part that decides without a score may have the extreme one
        score[np.isnan(part.score) & ~part.failed] = np.nan
    score[open_] = np.nan
    none = np.full(len(score), np.nan)
    if not any(part.bounded for part in parts):
        return BoundedScores(score, none, none)
    lows, highs = zip(*(part.ends() for part in parts), strict=True)
    low, high = (extreme(np.stack(ends), axis=0) for ends in (lows, highs))
    return BoundedScores(
        score, np.where(open_, np.nan, low), np.where(open_, np.nan, high)
    )


def largest(parts: Sequence[Part]) -> Combined:
    """Take the largest score, decided at the threshold that the parts share."""
    if why := _why_not_one_scale(parts):
        raise DataError(f"max takes scores that compare: {why}")
    thresholds = {part.threshold for part in parts}
    if len(thresholds) > 1 or None in thresholds:
        raise DataError(
            f"max decides at one threshold, and the parts decide at {_listed(parts)}: "
            "`or` takes the decisions of each"
        )
    scores = _extreme(parts, any_failed(parts), highest=True)
    (threshold,) = thresholds
    assert threshold is not None
    return every_part_asked(parts, decide(scores.score, threshold), scores, threshold)


def mean(parts: Sequence[Part], held_out: HeldOut) -> Combined:
    """Take the mean probability; of other scores, the mean of their ranks."""
    for part in parts:
        if not part.ranks:
            raise DataError(f"mean takes scores, and {part.label} has none")
    why = _why_not_one_scale(parts)
    if why:
        columns = [_rank_columns(part, held_out) for part in parts]
    else:
        columns = [BoundedScores(part.score, *part.ends()) for part in parts]
    failed = any_failed(parts)
    score, lower, upper = (
        np.where(failed, np.nan, np.mean(np.stack(column), axis=0))
        for column in zip(*columns, strict=True)
    )
    if not any(part.bounded for part in parts):
        lower = upper = np.full(len(score), np.nan)
    scores = BoundedScores(score, lower, upper)
    if why:
        note = (
            f"mean of ranks among the {held_out.rows.sum()} samples of the calibration "
            f"part, as {why}; it decides nothing: `safebench threshold` finds where"
        )
        undecided = np.full(len(score), np.nan)
        return every_part_asked(
            parts, undecided, scores, None, [note], probability=False
        )
    threshold, notes = _common_threshold(parts)
    if threshold is None:
        known = [0.5 if p.threshold is None else p.threshold for p in parts]
        threshold = float(np.mean(known))
        notes = [f"decided at {threshold:g}, the mean of {_listed(parts)}"]
    return every_part_asked(parts, decide(score, threshold), scores, threshold, notes)


def _rank_columns(part: Part, held_out: HeldOut) -> BoundedScores:
    """Return the mid-ranks of scores and ends among the calibration part, 0 to 1.

    Not among all samples: one more sample to judge would change all the others.
    """
    known = np.sort(part.score[held_out.rows & ~np.isnan(part.score)])
    if len(known) < MIN_RANKED:
        raise DataError(
            f"{part.label}: its scores are no probabilities, and ranks take at least "
            f"{MIN_RANKED} samples of the calibration part; it has {len(known)}"
        )

    def rank(values: Floats) -> Floats:
        below = np.searchsorted(known, values, side="left")
        up_to = np.searchsorted(known, values, side="right")
        ranks: Floats = np.where(
            np.isnan(values), np.nan, (below + up_to) / (2 * len(known))
        )
        return ranks

    low, high = part.ends()
    return BoundedScores(rank(part.score), rank(low), rank(high))


def cascade(parts: Sequence[Part], low: float, high: float) -> Combined:
    """Take the first part, but the second where the first one's score is in the band.

    And where the first one has no score: it failed, or its evidence was cut short.
    """
    first, second = parts
    if not first.ranks:
        raise DataError(f"cascade reads scores of {first.label}, and it has none")
    _require_decisions(parts, "cascade")
    with np.errstate(invalid="ignore"):
        kept = (first.score < low) | (first.score > high)  # NaN is neither
    escalated = ~kept
    decision = np.where(escalated, second.decision, first.decision)
    # scores that all come from one part are on one scale, whatever the other's is
    speaking = [
        part for part, rows in ((first, kept), (second, escalated)) if rows.any()
    ]
    threshold, notes = _common_threshold(speaking)
    if why := _why_not_one_scale(speaking):
        notes.append(f"no score, decisions alone: {why}")
        scores = no_scores(len(decision))
    else:
        score = np.where(escalated, second.score, first.score)
        failed = np.isnan(decision) & np.isnan(score)
        lower, upper, several = cascade_ends(first, second, low, high)
        if several.any():
            notes.append(f"bounds leave open which part judges {several.sum()} samples")
        if several.any() or any(part.bounded for part in speaking):
            lower, upper = (np.where(failed, np.nan, end) for end in (lower, upper))
        else:
            lower = upper = np.full(len(score), np.nan)
        scores = BoundedScores(score, lower, upper)
    n_passed_on = int(first.failed.sum())
    if n_passed_on:
        notes.append(
            f"{n_passed_on} samples that {first.label} failed on are escalated"
        )
    combined = every_part_asked(speaking, decision, scores, threshold, notes)
    return replace(combined, asked=np.stack([np.ones_like(escalated), escalated]))


def cascade_ends(
    first: Part, second: Part, low: float, high: float
) -> tuple[Floats, Floats, Array]:
    """Return the hull of what a cascade may give, and where more than one part may.

    Two columns (n,) float, and one (n,) bool. A first score from l to u is kept where
    it lies outside the band, and replaced by the second one's interval inside.
    """
    (l1, u1), (l2, u2) = first.ends(), second.ends()
    unknown = np.isnan(first.score)  # whatever it would be: the second one judges
    below, above = (l1 < low) & ~unknown, (u1 > high) & ~unknown
    inside = ((l1 <= high) & (u1 >= low)) | unknown
    least, most = np.full(len(l1), np.inf), np.full(len(l1), -np.inf)
    for rows, start, end in (
        (below, l1, np.minimum(u1, low)),
        (above, np.maximum(l1, high), u1),
        (inside, l2, u2),
    ):
        least = np.where(rows, np.minimum(least, start), least)
        most = np.where(rows, np.maximum(most, end), most)
    return least, most, below.astype(int) + above + inside > 1


def decide(score: Floats, threshold: float) -> Floats:
    """Return ``score >= threshold`` as 1 or 0, NaN where there is no score."""
    return np.where(np.isnan(score), np.nan, (score >= threshold).astype(float))


def any_failed(parts: Sequence[Part]) -> Array:
    """Return which samples any part has no score for, (n,) bool."""
    failed: Array = np.zeros(len(parts[0].score), dtype=bool)
    for part in parts:
        failed |= np.isnan(part.score)
    return failed


def _common_threshold(parts: Sequence[Part]) -> tuple[float | None, list[str]]:
    """Return the threshold that all parts decide at, or None and a note."""
    thresholds = {part.threshold for part in parts}
    if len(thresholds) == 1:
        return thresholds.pop(), []
    note = (
        f"the parts decide at {_listed(parts)}: no threshold on the combined score "
        "gives these decisions"
    )
    return None, [note]


def _listed(parts: Sequence[Part]) -> str:
    return " and ".join(
        "a rule of its own" if part.threshold is None else f"{part.threshold:g}"
        for part in parts
    )


def _why_not_one_scale(parts: Sequence[Part]) -> str:
    """Say why scores of the parts do not compare; nothing where they do."""
    for part in parts:
        if not part.ranks:
            return f"{part.label} gives no score"
    if len({part.scale for part in parts}) == 1:
        return ""
    for part in parts:
        if not part.probability:
            return f"the score of {part.label} is no probability"
    return ""


def _require_decisions(parts: Sequence[Part], rule: str) -> None:
    for part in parts:
        if np.isnan(part.decision).all() and not part.failed.all():
            raise DataError(
                f"{rule} takes decisions, and {part.label} gives none: run it with a "
                "threshold"
            )
