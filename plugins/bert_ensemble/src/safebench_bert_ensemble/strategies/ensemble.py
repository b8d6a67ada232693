"""The strategies on `MemberLogits`: pools that score, categories, uncertainties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import IncompatibleError
from safebench.evidence import MemberLogits
from safebench.strategies import Judgements, LabelColumns
from safebench_bert_ensemble.model.calibration import META_KEY, read_calibration
from safebench_bert_ensemble.options import PoolOptions, VoteOptions

from . import formulas

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.evidence import EvidenceBundle
    from safebench.strategies import Context
    from safebench.typing import Floats


def mean_logits(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Score by the probability of harm at the members' mean logits."""
    p = _pooled_probability(evidence[MemberLogits], context)
    return _score(p, evidence[MemberLogits], "mean_logits", context)


def mean_probs(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Score by the mean of the members' probabilities of harm."""
    p = _member_probabilities(evidence[MemberLogits], context).mean(axis=-1)
    return _score(p, evidence[MemberLogits], "mean_probs", context)


def category_probs(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Score as `mean_probs`, with the classes that are categories of a policy.

    A category is the mean of the members' probabilities of its class, and the largest
    of its classes where it has several. Over the windows of a long text it is the
    largest, the first, or that of the mean logits: categories may stand in different
    windows, so each has its own. Raises `IncompatibleError` where no class is one.
    """
    logits = evidence[MemberLogits]
    codes: dict[str, str] = logits.meta.get("categories", {})
    if not codes:
        raise IncompatibleError(
            "category_probs: no class of this model is a category of a policy; a "
            "profile says which are (policy, categories)"
        )
    p = _class_probabilities(logits, (context.options or PoolOptions()).windows)
    guard_codes = list(dict.fromkeys(codes.values()))
    columns = np.full((len(p), len(guard_codes)), -np.inf)
    for i, name in enumerate(logits.meta["classes"]):
        if name in codes:
            column = columns[:, guard_codes.index(codes[name])]
            np.maximum(column, p[:, i], out=column)
    labels = LabelColumns(guard_codes, context.policy)
    judgements = mean_probs(evidence, context)
    judgements.labels = labels.names
    judgements.categories = labels.arrange(columns)
    return judgements


def logit_mean_entropy(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Return the entropy of the pooled logits: blind to members that disagree."""
    p = _pooled_probability(evidence[MemberLogits], context)
    return _uncertainty(formulas.entropy(p))


def predictive_entropy(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Return the entropy of the mean probability: noise and disagreement together."""
    return _member_uncertainty(formulas.predictive_entropy, evidence, context)


def expected_entropy(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Return the mean entropy of the members: noise alone."""
    return _member_uncertainty(formulas.expected_entropy, evidence, context)


def mutual_information(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Return how much the members disagree, in nats."""
    return _member_uncertainty(formulas.mutual_information, evidence, context)


def vote_entropy(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Return the entropy of the members' decisions."""
    return _member_uncertainty(
        _votes(formulas.vote_entropy, context), evidence, context
    )


def variation_ratio(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Return the share of members that decide against the majority."""
    formula = _votes(formulas.variation_ratio, context)
    return _member_uncertainty(formula, evidence, context)


def member_std(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Return the standard deviation of the members' probabilities."""
    return _member_uncertainty(formulas.member_std, evidence, context)


def task_polarities(evidence: MemberLogits, task: str) -> Floats:
    """Return 1, -1 or 0 for each class, by what it says about the task; (C,).

    Raises `IncompatibleError` where no class says anything about it.
    """
    polarity = np.array(evidence.polarity(task), dtype=float)
    if not polarity.any():
        answered = ", ".join(evidence.answered) or "no task"
        raise IncompatibleError(f"the members answer {answered}, not {task}")
    return polarity


def reduce_windows(evidence: MemberLogits, polarity: Floats, how: str) -> Floats:
    """Return logits (B, M, C) of one window for each text, or of their mean.

    `how` is auto, worst, least, mean or first, as in `PoolOptions`.
    """
    if how == "auto":
        how = evidence.meta.get("window_rule", "worst")
    logits = evidence["logits"].astype(np.float64)  # (W, M, C)
    offsets = evidence.offsets["W"]
    starts = offsets[:-1]
    if len(logits) == len(evidence):
        return logits
    if how == "first":
        return logits[starts]
    counts = np.diff(offsets)
    if how == "mean":
        total: Floats = np.add.reduceat(logits, starts, axis=0)
        return total / counts[:, None, None]
    p = formulas.harm_probability(logits, evidence.meta["link"], polarity)  # (W, M)
    text_of_window = np.repeat(np.arange(len(evidence)), counts)
    # Sorted by text, then by falling probability, each text starts with its worst.
    direction = 1 if how == "least" else -1
    order = np.lexsort((direction * p.mean(axis=-1), text_of_window))
    return logits[order[starts]]


def _class_probabilities(evidence: MemberLogits, how: str) -> Floats:
    """Return the mean probability of each class, (B, C); windows as `how` says."""
    if how in ("mean", "first"):
        no_polarity = np.empty(0)  # which only the worst window depends on
        logits = reduce_windows(evidence, no_polarity, how)
        p = formulas.class_probabilities(logits, evidence.meta["link"])
        mean: Floats = p.mean(axis=1)
        return mean
    logits = evidence["logits"].astype(np.float64)  # (W, M, C)
    p = formulas.class_probabilities(logits, evidence.meta["link"]).mean(axis=1)
    largest: Floats = np.maximum.reduceat(p, evidence.offsets["W"][:-1], axis=0)
    return largest


def _member_uncertainty(
    formula: Callable[[Floats], Floats], evidence: EvidenceBundle, context: Context
) -> Judgements:
    return _uncertainty(formula(_member_probabilities(evidence[MemberLogits], context)))


def _votes(
    formula: Callable[[Floats, float], Floats], context: Context
) -> Callable[[Floats], Floats]:
    """Return a formula of votes at the place that the options name."""
    options: VoteOptions = context.options or VoteOptions()
    return lambda p: formula(p, options.at)


def _score(
    p: Floats, evidence: MemberLogits, pool: str, context: Context
) -> Judgements:
    """Return the score, calibrated where the model carries a calibration of the pool.

    Outputs that are no log-odds make no probability. A calibration says how sure a
    decision is, and changes none.
    """
    judgements = Judgements(
        size=len(p),
        score=p,
        probability=evidence.meta.get("probability", True),
        note=evidence.meta.get("note", ""),
    )
    stored: dict[str, Any] = evidence.meta.get(META_KEY, {})
    options: PoolOptions = context.options or PoolOptions()
    calibration = read_calibration(stored.get(pool))
    if calibration is None or options.calibration == "none":
        return judgements
    judgements.score = calibration.probability(p)
    judgements.note = calibration.described
    if calibration.offset:
        # Its place moved, and the decision that the members were trained to make stays.
        at = judgements.threshold = calibration.at_one_half
        judgements.decision = np.where(np.isnan(p), np.nan, p >= formulas.EVEN_ODDS)
        judgements.decision_note = (
            f"the members decide at one half, where the probability is {at:.3g}"
        )
    return judgements


def _uncertainty(value: Floats) -> Judgements:
    return Judgements(size=len(value), uncertainty=value, probability=False)


def _pooled_probability(evidence: MemberLogits, context: Context) -> Floats:
    """Return P(harm) at the mean logits, (B,)."""
    logits, polarity = _logits_and_polarity(evidence, context)
    pooled = logits.mean(axis=1)
    return formulas.harm_probability(pooled, evidence.meta["link"], polarity)


def _member_probabilities(evidence: MemberLogits, context: Context) -> Floats:
    """Return each member's P(harm), (B, M)."""
    logits, polarity = _logits_and_polarity(evidence, context)
    return formulas.harm_probability(logits, evidence.meta["link"], polarity)


def _logits_and_polarity(
    evidence: MemberLogits, context: Context
) -> tuple[Floats, Floats]:
    """Return logits (B, M, C) of the windows to read, and the classes' polarity."""
    options: PoolOptions = context.options or PoolOptions()
    polarity = task_polarities(evidence, context.task)
    return reduce_windows(evidence, polarity, options.windows), polarity
