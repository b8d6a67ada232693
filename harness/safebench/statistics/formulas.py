"""Metrics as functions of summed tables; (kinds, levels, draws) in, (draws,) out.

An undefined metric (no positives, nothing flagged) is NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Array = np.ndarray[Any, np.dtype[Any]]

FPR = 0.01
TPR = 0.95


def ratio(top: Array, bottom: Array) -> Array:
    """Divide; NaN where there is nothing to divide by."""
    shape = np.broadcast_shapes(top.shape, bottom.shape)
    found = np.full(shape, np.nan)
    np.divide(top, bottom, out=found, where=bottom > 0)
    return found


def accuracy(sums: Array) -> Array:
    """(TP + TN) / n."""
    tp, fp, tn, fn = sums[:, 0]
    return ratio(tp + tn, tp + fp + tn + fn)


def precision(sums: Array) -> Array:
    """TP / (TP + FP)."""
    tp, fp, _, _ = sums[:, 0]
    return ratio(tp, tp + fp)


def recall(sums: Array) -> Array:
    """TP / (TP + FN)."""
    tp, _, _, fn = sums[:, 0]
    return ratio(tp, tp + fn)


def fpr(sums: Array) -> Array:
    """FP / (FP + TN)."""
    _, fp, tn, _ = sums[:, 0]
    return ratio(fp, fp + tn)


def fnr(sums: Array) -> Array:
    """FN / (TP + FN)."""
    return 1 - recall(sums)


def f1(sums: Array) -> Array:
    """2 TP / (2 TP + FP + FN); undefined without positives."""
    tp, fp, _, fn = sums[:, 0]
    return np.where(tp + fn > 0, ratio(2 * tp, 2 * tp + fp + fn), np.nan)


def balanced_accuracy(sums: Array) -> Array:
    """Mean of the recalls of both classes."""
    return (recall(sums) + 1 - fpr(sums)) / 2


def mcc(sums: Array) -> Array:
    """Matthews correlation."""
    tp, fp, tn, fn = sums[:, 0]
    bottom = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return ratio(tp * tn - fp * fn, np.sqrt(bottom))


def mean(sums: Array) -> Array:
    """Mean of the first column that was summed."""
    return ratio(sums[1, 0], sums[0, 0])


def second_mean(sums: Array) -> Array:
    """Mean of the second column that was summed."""
    return ratio(sums[2, 0], sums[0, 0])


def ece(sums: Array) -> Array:
    """Mean over samples of their bin's |share of positives - mean probability|."""
    count, p, y = sums
    return ratio(np.abs(y - p).sum(axis=0), count.sum(axis=0))


def mce(sums: Array) -> Array:
    """Largest |share of positives - mean probability| of a bin."""
    count, p, y = sums
    largest: Array = np.fmax.reduce(ratio(np.abs(y - p), count), axis=0)
    return largest


def rmsce(sums: Array) -> Array:
    """Root of the mean over samples of their bin's squared gap."""
    count, p, y = sums
    gaps = np.nan_to_num(ratio(y - p, count))
    return np.sqrt(ratio((count * gaps**2).sum(axis=0), count.sum(axis=0)))


def rmsce_debiased(sums: Array) -> Array:
    """As `rmsce`, less what chance adds to the squares of each bin; 0 at least.

    Kumar, Liang and Ma 2019: share (1 - share) / (count - 1) is taken off. A bin of
    one sample tells nothing and adds nothing.
    """
    count, p, y = sums
    share = np.nan_to_num(ratio(y, count))
    gaps = np.nan_to_num(ratio(y - p, count))
    chance = ratio(share * (1 - share), count - 1)
    squares = np.nan_to_num(count * (gaps**2 - chance)).sum(axis=0)
    return np.sqrt(ratio(np.maximum(squares, 0), count.sum(axis=0)))


def auroc(sums: Array) -> Array:
    """P(a positive scores above a negative), ties as half.

    `sums` of this and the next formulas: counts of both kinds down to each level.
    """
    true, false = sums
    before = _before(true)
    won = np.einsum("kd,kd->d", true + before, false - _before(false)) / 2
    return ratio(won, true[-1] * false[-1])


def auprc(sums: Array) -> Array:
    """Average precision: the sum of precision times the step in recall."""
    true, false = sums
    precision = true / np.maximum(true + false, 1)  # a level of weight 0 adds 0
    steps = true - _before(true)
    return ratio(np.einsum("kd,kd->d", steps, precision), true[-1])


def tpr_at_fpr(sums: Array) -> Array:
    """Largest recall at a threshold that flags at most 1 % of the negatives."""
    true, false = sums
    allowed = false <= FPR * false[-1] + 1e-9
    best = np.where(allowed, true, 0).max(axis=0)
    return np.where(false[-1] > 0, ratio(best, true[-1]), np.nan)


def fpr_at_tpr(sums: Array) -> Array:
    """Smallest share of negatives flagged where 95 % of the positives are."""
    true, false = sums
    enough = true >= TPR * true[-1] - 1e-9
    least = np.where(enough, false, np.inf).min(axis=0)
    return np.where(true[-1] > 0, ratio(least, false[-1]), np.nan)


def aurc(sums: Array) -> Array:
    """Mean over k of the error among the k most confident decisions.

    `sums`: wrong and right decisions down to each level of confidence. Equal confidence
    is taken in every order alike: the mean over orders, by harmonic numbers. Weights
    are whole numbers.
    """
    wrong, right = sums
    kept = wrong + right
    steps = _harmonic(int(kept[-1].max(initial=0)))[kept.astype(np.intp)]
    steps[1:] -= steps[:-1].copy()
    before, kept_before = _before(wrong), _before(kept)
    share = (wrong - before) / np.maximum(kept - kept_before, 1)
    areas = np.einsum("kd,kd->d", before - share * kept_before, steps)
    return ratio(areas + wrong[-1], kept[-1])


def e_aurc(sums: Array) -> Array:
    """AURC above that of a perfect order of the same decisions."""
    wrong, right = sums[:, -1]
    total = wrong + right
    harmonic = _harmonic(int(total.max(initial=0)))
    # wrong ones come last: errors at k > right are k - right
    steps = harmonic[total.astype(np.intp)] - harmonic[right.astype(np.intp)]
    return aurc(sums) - ratio(wrong - right * steps, total)


def selective_accuracy(coverage: float, sums: Array) -> Array:
    """Share of right decisions among the most confident `coverage` of the samples.

    ceil(coverage n) samples are kept; of a level that is cut, its mean share counts.
    """
    wrong, right = sums
    after = wrong + right
    before = _before(after)
    kept = np.ceil(coverage * after[-1] - 1e-9)
    taken = np.clip(kept - before, 0, after - before)
    share = (right - _before(right)) / np.maximum(after - before, 1)
    return ratio((taken * share).sum(axis=0), kept)


def _before(sums: Array) -> Array:
    """Return the sums before each level."""
    found = np.zeros_like(sums)
    found[1:] = sums[:-1]
    return found


def _harmonic(size: int) -> Array:
    """Return H(0)..H(size)."""
    return np.concatenate([[0.0], np.cumsum(1 / np.arange(1, size + 1))])


def macro_f1(sums: Array) -> Array:
    """Mean F1 over the levels (categories) that have a positive."""
    tp, fp, _, fn = sums
    each = np.where(tp + fn > 0, ratio(2 * tp, 2 * tp + fp + fn), 0)
    return ratio(each.sum(axis=0), (tp + fn > 0).sum(axis=0))


def micro(formula: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return a formula of decisions over the cells of all levels together."""
    return lambda sums: formula(sums.sum(axis=1, keepdims=True))


def error(sums: Array) -> Array:
    """1 - accuracy."""
    return 1 - accuracy(sums)
