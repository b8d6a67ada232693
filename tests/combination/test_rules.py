"""Rules of combination against enumeration, by hand, and against scikit-learn."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from safebench.combination.combine import combine
from safebench.combination.fitting import find_band
from safebench.combination.rules import HeldOut, Part, parse_rule
from safebench.errors import DataError, OptionError

NAN = np.nan


def part(score: Any, label: str = "a/s", **fields: Any) -> Part:
    """Return a part that decides from 0.5 on, unless it says otherwise."""
    score = np.array(score, dtype=float)
    known = ~np.isnan(score)
    defaults: dict[str, Any] = {
        "decision": np.where(known, (score >= 0.5).astype(float), NAN),
        "lower": np.full(len(score), NAN),
        "upper": np.full(len(score), NAN),
        "failed": ~known,
        "threshold": 0.5,
        "probability": True,
        "scale": label,
    }
    return Part(label=label, score=score, **(defaults | fields))


def held_out(n: int, y: Any = None, rows: Any = None, groups: Any = None) -> HeldOut:
    """Return a calibration part of all samples, or of `rows`."""
    rows = np.ones(n, dtype=bool) if rows is None else np.array(rows)
    ids = [f"id-{place}" for place in range(n)]
    return HeldOut(
        ids=ids,
        allowed=rows,
        rows=rows,
        y=np.where(rows, np.zeros(n) if y is None else np.array(y, dtype=float), NAN),
        groups=ids if groups is None else groups,
    )


def combined(rule: str, *parts: Part, **fields: Any) -> Any:
    """Combine without labels."""
    return combine(parse_rule(rule), parts, held_out(len(parts[0].score), **fields))


@pytest.mark.parametrize(("rule", "decisive"), [("or", True), ("and", False)])
def test_failed_parts(rule: str, decisive: bool) -> None:
    """Decisions follow from every answer that a failed part could have given."""
    answers = np.array(list(itertools.product((0, 1, NAN), repeat=3)))
    columns = [np.where(column == 1, 0.9, column * 0 + 0.1) for column in answers.T]

    result = combined(rule, *(part(c, f"{n}/s") for n, c in enumerate(columns)))

    of = any if decisive else all
    for row, decision in zip(answers, result.decision, strict=True):
        worlds = {
            of(world)
            for world in itertools.product(
                *([0, 1] if np.isnan(answer) else [answer] for answer in row)
            )
        }
        expected = NAN if len(worlds) > 1 else float(worlds.pop())
        np.testing.assert_equal(decision, expected)
    # the score of what is decided lies on the side of the decision
    known = ~np.isnan(result.decision)
    assert ((result.score >= 0.5) == result.decision)[known].all()
    assert np.isnan(result.score[~known]).all()
    assert not result.decision[known].all()


BOUNDED = {
    "or": max,
    "and": min,
    "max": max,
    "mean": lambda s: sum(s) / len(s),
    "cascade:0.25,0.75": lambda s: s[1] if 0.25 <= s[0] <= 0.75 else s[0],
}


@pytest.mark.parametrize("rule", list(BOUNDED))
def test_bounds(rule: str) -> None:
    """Bounds are what the bounds of the parts can give."""
    rng = np.random.default_rng(0)
    # eighths, so that the grid holds every end and both ends of the band
    ends = np.sort(rng.integers(0, 9, (2, 60, 2)), axis=2) / 8
    scores = rng.integers(ends[..., 0] * 8, ends[..., 1] * 8 + 1) / 8
    parts = [
        part(scores[k], f"{k}/s", lower=ends[k, :, 0], upper=ends[k, :, 1])
        for k in range(2)
    ]

    result = combined(rule, *parts)

    step = 1 / 64
    for row in range(60):
        grids = [
            np.arange(ends[k, row, 0], ends[k, row, 1] + 1e-9, step) for k in (0, 1)
        ]
        values = [BOUNDED[rule](point) for point in itertools.product(*grids)]
        # a first score may come as close to the band as it likes
        gap = step if "cascade" in rule else 1e-12
        assert result.lower[row] == pytest.approx(min(values), abs=gap)
        assert result.upper[row] == pytest.approx(max(values), abs=gap)
        assert result.lower[row] <= min(values) + 1e-12
        assert result.upper[row] >= max(values) - 1e-12
        assert result.score[row] == pytest.approx(BOUNDED[rule](scores[:, row]))


@pytest.mark.parametrize("rule", ["or", "and", "max", "mean", "cascade:0.3,0.6"])
@pytest.mark.parametrize("probability", [True, False])
def test_with_itself(rule: str, probability: bool) -> None:
    """A part combined with itself is itself."""
    rng = np.random.default_rng(1)
    score = rng.random(50) if probability else rng.normal(size=50)
    score[3] = NAN
    itself = part(
        score, lower=score - 0.01, upper=score + 0.02, probability=probability
    )

    result = combined(rule, itself, itself)

    for name in ("score", "decision", "lower", "upper"):
        np.testing.assert_array_equal(
            getattr(result, name), np.where(itself.failed, NAN, getattr(itself, name))
        )
    assert (result.threshold, result.probability) == (0.5, probability)


def test_cascade_of_all_and_of_none() -> None:
    """A cascade of all scores is the second part and of none the first."""
    rng = np.random.default_rng(2)
    first = rng.random(40)
    first[:2] = 0, 1
    second = rng.normal(size=40)  # no probability, and other thresholds
    second[5] = NAN
    a = part(first, "a/s")
    b = part(second, "b/s", probability=False, threshold=0.1)

    everything = combined("cascade:0,1", a, b)
    nothing = combined("cascade:2,3", a, b)

    np.testing.assert_array_equal(everything.score, b.score)
    np.testing.assert_array_equal(everything.decision, b.decision)
    assert (everything.threshold, everything.probability) == (0.1, False)
    assert everything.asked.all()
    np.testing.assert_array_equal(nothing.score, a.score)
    assert not nothing.asked[1].any()


def test_what_a_cascade_escalates() -> None:
    """A cascade escalates both ends of the band and what failed."""
    a = part([0.1, 0.2, 0.5, 0.8, 0.9, NAN], "a/s")
    b = part([0.6, 0.6, NAN, 0.6, 0.6, 0.6], "b/s")

    result = combined("cascade:.2,.8", a, b)

    assert result.asked.tolist() == [[True] * 6, [False, True, True, True, False, True]]
    np.testing.assert_array_equal(result.score, [0.1, 0.6, NAN, 0.6, 0.9, 0.6])
    np.testing.assert_array_equal(result.decision, [0, 1, NAN, 1, 1, 1])


def test_other_scales() -> None:
    """Scores that do not compare leave decisions alone."""
    a = part([0.9, 0.1], "a/s")
    b = part([3.0, -1.0], "b/s", probability=False, threshold=0.0)

    result = combined("or", a, b)

    assert result.decision.tolist() == [1, 0]
    assert np.isnan(result.score).all()
    assert not result.probability
    assert result.threshold is None
    assert any("no probability" in note for note in result.notes)
    with pytest.raises(DataError, match="b/s is no probability"):
        combined("max", a, b)


def test_mean_of_ranks() -> None:
    """Scores that do not compare are averaged as ranks of the calibration part."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 60)).round(1)
    rows = np.arange(60) < 30
    parts = [
        part(a, "a/s", probability=False),
        part(np.exp(b), "b/s", probability=False),
    ]

    result = combined("mean", *parts, rows=rows)

    def rank(column: np.ndarray, value: float) -> float:
        known = column[rows]
        return float(((known < value).sum() + (known == value).sum() / 2) / len(known))

    expected = [(rank(a, x) + rank(b, z)) / 2 for x, z in zip(a, b, strict=True)]
    np.testing.assert_allclose(result.score, expected)
    assert np.isnan(result.decision).all()
    with pytest.raises(DataError, match="at least 20 samples"):
        combined("mean", *parts, rows=np.arange(60) < 19)


def stacked_data(n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels and two columns of probabilities that say something."""
    rng = np.random.default_rng(4)
    y = rng.random(n) < 0.4
    z = rng.normal(size=(2, n)) + np.where(y, 1.0, -1.0) * [[0.8], [0.3]]
    return y, *(1 / (1 + np.exp(-z)))


def test_stack() -> None:
    """Stacking is the logistic regression of scikit-learn."""
    y, a, b = stacked_data()
    rows = np.arange(len(y)) % 3 == 0
    b = 1 - b  # says the opposite: its weight is negative
    eps = 0.02
    parts = [
        part(a, "a/s", lower=np.maximum(a - eps, 0), upper=np.minimum(a + eps, 1)),
        part(b, "b/s", lower=np.maximum(b - eps, 0), upper=np.minimum(b + eps, 1)),
    ]

    result = combine(parse_rule("stack"), parts, held_out(len(y), y, rows))

    x = np.log([a, b]).T - np.log1p([-a, -b]).T
    scaler = StandardScaler().fit(x[rows])
    model = LogisticRegression(C=1.0, tol=1e-12, max_iter=10_000)
    model.fit(scaler.transform(x[rows]), y[rows])
    expected = model.predict_proba(scaler.transform(x))[:, 1]
    np.testing.assert_allclose(result.score, expected, atol=1e-6)
    np.testing.assert_array_equal(result.decision, result.score >= 0.5)
    # each bound at the corner where the parts say most for it, and for the other class
    for bound, ends in (
        (result.lower, ("lower", "upper")),
        (result.upper, ("upper", "lower")),
    ):
        with np.errstate(divide="ignore"):
            corner = np.stack(
                [getattr(p, e) for p, e in zip(parts, ends, strict=True)], 1
            )
        corner = np.clip(corner, 1e-12, 1 - 1e-12)
        z = scaler.transform(np.log(corner) - np.log1p(-corner))
        np.testing.assert_allclose(bound, model.predict_proba(z)[:, 1], atol=1e-5)


def test_test_sample() -> None:
    """Nothing is fitted to a sample of the test part."""
    y, a, b = stacked_data()
    everything = held_out(len(y), y)
    leaking = HeldOut(
        ids=everything.ids,
        allowed=np.arange(len(y)) > 0,
        rows=everything.rows,
        y=everything.y,
        groups=everything.groups,
    )
    for rule in ("stack", "cascade:auto@budget=0.2"):
        with pytest.raises(ValueError, match="id-0 is no sample of the calibration"):
            combine(parse_rule(rule), [part(a, "a/s"), part(b, "b/s")], leaking)


@pytest.mark.parametrize("rule", ["stack", "cascade:auto@budget=0.2"])
def test_few_groups(rule: str) -> None:
    """What is fitted takes 20 groups of each class."""
    y, a, b = stacked_data()
    groups = np.where(y, "one conversation", np.arange(len(y)).astype(str)).tolist()
    parts = [part(a, "a/s"), part(b, "b/s")]

    with pytest.raises(DataError, match=r"calibration part has 1 unsafe"):
        combine(parse_rule(rule), parts, held_out(len(y), y, groups=groups))


@pytest.mark.parametrize("budget", [0.05, 0.2, 0.5])
def test_best_band(budget: float) -> None:
    """A band within a budget corrects most of all bands."""
    rng = np.random.default_rng(5)
    y = rng.random(90) < 0.5
    a = np.clip(np.where(y, 0.6, 0.4) + rng.normal(0, 0.25, 90), 0, 1).round(2)
    b = np.where(rng.random(90) < 0.85, y, ~y) * 0.8 + 0.1
    first, second = part(a, "a/s"), part(b, "b/s")

    low, high, _ = find_band(first, second, budget, held_out(90, y))

    def gain(lo: float, hi: float) -> tuple[int, int]:
        inside = (a >= lo) & (a <= hi)
        kept = np.where(inside, second.decision, first.decision) == y
        return int(kept.sum()), -int(inside.sum())

    levels = np.unique(a)
    allowed = [
        gain(lo, hi)
        for lo, hi in itertools.combinations_with_replacement(levels, 2)
        if ((a >= lo) & (a <= hi)).mean() <= budget
    ]
    assert gain(low, high) == max(allowed)


def test_no_band() -> None:
    """A second part that corrects nothing gets no band."""
    y, a, _ = stacked_data()
    with pytest.raises(DataError, match="corrects no more there than it spoils"):
        find_band(part(a, "a/s"), part(a, "b/s"), 0.2, held_out(len(y), y))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("orr", "did you mean 'or'"),
        ("mean:1", "no rule 'mean:1'"),
        ("cascade:0.2", "takes two scores"),
        ("cascade:a,b", "takes two scores"),
        ("cascade:nan,1", "takes two scores"),
        ("cascade:0.8,0.2", "no score is from 0.8 to 0.2"),
        ("cascade:auto@budget=2", "or a budget"),
        ("cascade:auto", "or a budget"),
    ],
)
def test_no_rule(text: str, match: str) -> None:
    """A rule that is none is refused."""
    with pytest.raises(OptionError, match=match):
        parse_rule(text)
