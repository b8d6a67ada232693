"""Conformal p-values and the bets on them, against plain loops and Ville's bound."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import kstest

from safebench.statistics.exchangeability import (
    BINS,
    JUMPS,
    MAX_RATE,
    RATIOS,
    SLOPES,
    conformal_p_values,
    log_capital,
    log_capital_of_rate,
)


def p_by_hand(reference: list[float], stream: list[float], seed: int) -> list[float]:
    """Return p-values by counting all that came before, and the number itself."""
    shares = np.random.default_rng(seed).random(len(stream))
    p_values = []
    for i, x in enumerate(stream):
        bag = [*reference, *stream[: i + 1]]
        higher, tied = sum(b > x for b in bag), sum(b == x for b in bag)
        p_values.append((higher + shares[i] * tied) / len(bag))
    return p_values


def capital_by_hand(p_values: list[float]) -> float:
    """Return the last capital, one player after the other."""
    jumpers = []
    for jump in JUMPS:
        for folded in (False, True):
            parts = [1 / len(SLOPES)] * len(SLOPES)
            for p in p_values:
                x = abs(2 * p - 1) if folded else p
                total = sum(parts)
                parts = [(1 - jump) * c + jump * total / len(SLOPES) for c in parts]
                parts = [
                    c * (1 + e * (x - 0.5)) for c, e in zip(parts, SLOPES, strict=True)
                ]
            jumpers.append(sum(parts))
    histogram, seen = 1.0, [1] * BINS
    for p in p_values:
        place = int(p * BINS)
        histogram *= BINS * seen[place] / sum(seen)
        seen[place] += 1
    return (sum(jumpers) / len(jumpers) + histogram) / 2


def test_p_values_and_capital_are_those_of_plain_loops() -> None:
    """Ties, and numbers below and above all others."""
    rng = np.random.default_rng(0)
    reference = [round(float(x), 1) for x in rng.random(15)]
    stream = [round(float(x), 1) for x in rng.random(40)] + [-5.0, 7.0, 7.0]
    p_values = conformal_p_values(reference, stream, seed=3)
    assert p_by_hand(reference, stream, 3) == pytest.approx(p_values.tolist())
    path = log_capital(p_values)
    for n in (1, 7, len(stream)):
        assert capital_by_hand(p_values[:n].tolist()) == pytest.approx(
            math.exp(path[n - 1])
        )
    # streams side by side are those alone
    both = log_capital(np.stack([p_values, p_values[::-1]]))
    assert np.allclose(both[0], path)
    assert np.allclose(both[1], log_capital(p_values[::-1]))


def test_bets_on_a_rate_are_those_of_a_plain_loop() -> None:
    """Each player multiplies by rate over share, or by what is left of both."""
    rng = np.random.default_rng(1)
    reference, stream = rng.random(30) < 0.1, rng.random(50) < 0.3
    uniform = np.random.default_rng(5).random(50)
    capital = np.ones(len(RATIOS))
    events, size = int(reference.sum()), 30
    path = log_capital_of_rate(reference, stream, seed=5)
    for happened, u, log in zip(stream, uniform, path, strict=True):
        share = (events + 1) / (size + 1)
        p = u * share if happened else (events + u * (size + 1 - events)) / (size + 1)
        rate = np.maximum(np.minimum(RATIOS * share, MAX_RATE), share)
        capital *= rate / share if p <= share else (1 - rate) / (1 - share)
        assert float(capital.mean()) == pytest.approx(math.exp(log))
        events, size = events + int(happened), size + 1
    assert path[-1] > 0  # three times as many are seen


@pytest.mark.parametrize("values", [None, 3], ids=["continuous", "three values"])
def test_p_values_of_exchangeable_numbers_are_uniform(values: int | None) -> None:
    """Also beside few references, and where most numbers are tied."""
    rng = np.random.default_rng(2)
    p_values = []
    for seed in range(40):
        numbers = rng.random(60) if values is None else rng.integers(values, size=60)
        p_values.append(conformal_p_values(numbers[:10], numbers[10:], seed))
    assert kstest(np.concatenate(p_values), "uniform").pvalue > 0.01
    lagged = np.array(p_values)
    assert abs(np.corrcoef(lagged[:, :-1].ravel(), lagged[:, 1:].ravel())[0, 1]) < 0.07


@pytest.mark.slow
def test_the_capital_rarely_grows_without_drift_and_does_with_it() -> None:
    """Ville: 1 / alpha is reached in a share of alpha; drift up, down, and apart."""
    rng = np.random.default_rng(3)
    uniform = rng.random((1000, 300))
    reached = (log_capital(uniform).max(axis=-1) >= math.log(20)).mean()
    assert reached <= 0.05
    assert reached > 0.005  # no bet at all would be as rare
    for drifted in (uniform**2, 1 - uniform**2, (1 - uniform**2) / 2 % 1):
        assert (log_capital(drifted).max(axis=-1) >= math.log(20)).mean() > 0.9
    events = rng.random((300, 250)) < 0.05
    rates = [log_capital_of_rate(e[:100], e[100:], i) for i, e in enumerate(events)]
    assert np.mean([r.max() >= math.log(20) for r in rates]) <= 0.05
