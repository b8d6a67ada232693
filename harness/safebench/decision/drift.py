"""Drift: whether scores of a stream are still like those of a reference.

Three answers: an alarm that may be looked at after every line, the test of Kolmogorov
and Smirnov on all lines, and the population stability index (PSI) that many monitors
show. A line without a score is counted, and its rate is watched in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import chi2, fisher_exact, ks_2samp

from safebench.errors import DataError
from safebench.statistics.exchangeability import (
    conformal_p_values,
    log_capital,
    log_capital_of_rate,
    mean_capital,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array

    from .score_stream import ScoreStream

DEFAULT_BINS = 10  # of the PSI
PRINTED_DIGITS = 6  # of a score, by `safebench score`
MIN_REFERENCE = 20  # scores: with fewer nothing but the grossest drift is seen
EMPTY_BIN = 0.5  # counts as so many samples: the logarithm of 0 has no value
MAX_POINTS = 200  # of the trajectory in reports


class Psi(NamedTuple):
    """The index, and what it would be of as many scores without drift.

    `expected` is its mean then, `usual_most` its 95th percentile (Yurdakul 2018).
    """

    value: float
    bins: int
    expected: float
    usual_most: float


class Alarm(NamedTuple):
    """An anytime-valid alarm: the evidence after each line, and where it rang.

    `log10_evidence` (m,) is that of scores and of missing ones together, and rings from
    `log10(1 / alpha)` on, at `line` of the file (None: never). `because` says which of
    both is larger there.
    """

    line: int | None
    because: str
    log10_evidence: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """What is said of a stream beside a reference; None with a reason in `notes`."""

    reference: ScoreStream
    stream: ScoreStream
    alpha: float
    alarm: Alarm
    ks: tuple[float, float] | None
    psi: Psi | None
    missing_p: float
    notes: tuple[str, ...]

    @property
    def drifted(self) -> bool:
        """Tell whether the alarm rang."""
        return self.alarm.line is not None


def measure_drift(
    reference: ScoreStream,
    stream: ScoreStream,
    *,
    alpha: float = 0.05,
    bins: int = DEFAULT_BINS,
    seed: int = 0,
) -> DriftReport:
    """Compare a stream with a reference; raises DataError where there is too little.

    Of each group one sample counts (drawn by `seed` in the reference, the first one in
    the stream): those of a group are not exchangeable with others.
    """
    if len(reference.known) < MIN_REFERENCE:
        raise DataError(
            f"{reference.name} has {len(reference.known)} scores, a reference takes "
            f"{MIN_REFERENCE}"
        )
    if not stream.n:
        raise DataError(f"{stream.name} has no line to watch")
    old, new = rounded(reference.known), rounded(stream.known)
    notes = [*reference.notes, *stream.notes]
    ks = None
    if len(new):
        # exact where that takes no time, else by the limiting distribution
        result = ks_2samp(old, new)
        ks = float(result.statistic), float(result.pvalue)
    else:
        notes.append(f"no line of {stream.name} has a score: no KS, no PSI")
    psi = population_stability(old, new, bins) if len(new) else None
    if psi is None and len(new):
        notes.append("all scores of the reference are equal: no PSI")
    counts = [
        [int(side.missing.sum()), len(side.known)] for side in (stream, reference)
    ]
    return DriftReport(
        reference=reference,
        stream=stream,
        alpha=alpha,
        alarm=find_alarm(reference, stream, alpha, seed),
        ks=ks,
        psi=psi,
        missing_p=float(fisher_exact(counts, alternative="greater").pvalue),
        notes=tuple(dict.fromkeys(notes)),
    )


def rounded(scores: Array) -> Array:
    """Return scores (n,) in 6 significant digits, as `safebench score` prints them.

    Else a stored score would lie beside the same one that was printed, and a tie would
    be a drift.
    """
    digits = PRINTED_DIGITS - 1
    return np.array([float(f"{score:.{digits}e}") for score in scores])


def find_alarm(
    reference: ScoreStream, stream: ScoreStream, alpha: float, seed: int = 0
) -> Alarm:
    """Return the evidence after each line, and where it first is 1 / alpha.

    It is the mean of two capitals: one on scores, and one on more lines without any.
    Both are fair bets if lines are exchangeable with the reference, hence so is their
    mean.
    """
    return find_alarms([(reference, stream)], alpha, [seed])[0]


def find_alarms(
    pairs: Sequence[tuple[ScoreStream, ScoreStream]],
    alpha: float,
    seeds: Sequence[int],
) -> list[Alarm]:
    """Return what `find_alarm` does for pairs of a reference and a stream.

    Much faster than one by one: bets of all streams are settled together.
    """
    p_values = [
        conformal_p_values(rounded(reference.known), rounded(stream.known), seed)
        for (reference, stream), seed in zip(pairs, seeds, strict=True)
    ]
    # what follows the last score of a stream changes no capital before it
    padded = np.full((len(pairs), max(map(len, p_values))), 0.5)
    for row, values in zip(padded, p_values, strict=True):
        row[: len(values)] = values
    capitals = log_capital(padded)
    alarms = []
    for (reference, stream), seed, capital in zip(pairs, seeds, capitals, strict=True):
        scored = np.cumsum(~stream.missing)
        # the capital stays where a line has no score
        of_scores = np.concatenate([[0.0], capital])[scored]
        of_missing = log_capital_of_rate(reference.missing, stream.missing, seed + 1)
        alarms.append(_alarm(stream, of_scores, of_missing, alpha))
    return alarms


def _alarm(
    stream: ScoreStream, of_scores: Array, of_missing: Array, alpha: float
) -> Alarm:
    together = mean_capital(of_scores, of_missing)
    rings = np.flatnonzero(together >= np.log(1 / alpha))
    line, because = None, ""
    if len(rings):
        first = int(rings[0])
        line = int(stream.lines[first])
        because = "scores" if of_scores[first] >= of_missing[first] else "missing"
    return Alarm(line, because, together / np.log(10))


def population_stability(
    reference: Array, stream: Array, bins: int = DEFAULT_BINS
) -> Psi | None:
    """Return the PSI of two samples; None if all of the reference are equal.

    The bins end at quantiles of the reference, a value at an end being in the lower
    bin; ends that ties make equal are one, so that there may be fewer. Of a bin that is
    empty on one side the share is that of half a sample.
    """
    inner = np.arange(1, bins) / bins
    ends = np.unique(np.quantile(reference, inner, method="inverted_cdf"))
    ends = ends[ends < reference.max()]
    if not len(ends):
        return None
    n_bins = len(ends) + 1
    shares = []
    for scores in (reference, stream):
        counts = np.bincount(np.searchsorted(ends, scores), minlength=n_bins)
        shares.append(np.maximum(counts, EMPTY_BIN) / len(scores))
    old, new = shares
    noise = 1 / len(reference) + 1 / len(stream)
    return Psi(
        value=float(((new - old) * np.log(new / old)).sum()),
        bins=n_bins,
        expected=(n_bins - 1) * noise,
        usual_most=float(chi2.ppf(0.95, n_bins - 1)) * noise,
    )


def thin(alarm: Alarm, lines: Sequence[int] | Array) -> list[tuple[int, float]]:
    """Return at most about `MAX_POINTS` points (line, log10 evidence) of a trajectory.

    The last one and that of the alarm are among them.
    """
    n = len(alarm.log10_evidence)
    rows = set(np.linspace(0, n - 1, min(n, MAX_POINTS)).round().astype(int).tolist())
    if alarm.line is not None:
        rows.add(int(np.flatnonzero(np.asarray(lines) == alarm.line)[0]))
    return [
        (int(lines[row]), round(float(alarm.log10_evidence[row]), 4))
        for row in sorted(rows)
    ]
