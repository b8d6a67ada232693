"""Shares of sampled verdicts against counting by hand, and enumeration of a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.stats import binomtest

from safebench.evidence import EvidenceBundle
from safebench.strategies import Context
from safebench.verdict_tree import Grammar
from safebench_llamaguard_marginal.strategies.greedy_verdict import greedy
from safebench_llamaguard_marginal.strategies.sampled_texts import (
    SampledTextsOptions,
    SelfConsistencyOptions,
    sampled_verdict_entropy,
    self_consistency,
)
from safebench_llamaguard_marginal.texts.evidence import (
    FILTER,
    LENGTH,
    STOP,
    VerdictTexts,
)
from safebench_llamaguard_marginal.texts.reading import TextReader

if TYPE_CHECKING:
    from collections.abc import Sequence

GRAMMAR = Grammar.from_json(
    {
        "levels": [
            {"name": "safe", "positive": False, "takes_labels": False},
            {"name": "unsafe", "positive": True, "takes_labels": True},
        ],
        "labels": ["S1", "S2", "S10"],
        "whole_words": True,
    }
)
CUT = "|cut"  # behind a text that the server cut off


def texts_of(samples: Sequence[Sequence[str]], temperature: float = 1.0) -> Any:
    """Return evidence of texts: of each sample the greedy one, then sampled ones."""
    reader = TextReader(GRAMMAR)
    flat = [text for own in samples for text in own]
    plain = [text.removesuffix(CUT) for text in flat]
    read = [
        reader.read(t, cut=raw.endswith(CUT))
        for t, raw in zip(plain, flat, strict=True)
    ]
    counts = [len(own) for own in samples]
    k = counts[0] - 1
    content = [text.encode() for text in plain]
    ends = np.cumsum([0, *counts])
    lengths = np.array([len(c) for c in content])
    arrays: dict[str, Any] = {
        "text": np.frombuffer(b"".join(content), dtype=np.uint8),
        "length": lengths,
        "finish": np.array([LENGTH if t.endswith(CUT) else STOP for t in flat]),
        "tokens": np.full(len(flat), -1),
        "level": np.array([r.level for r in read]),
        "labels_mask": np.array([r.labels_mask for r in read], dtype=np.uint64),
        "malformed": np.array([r.malformed for r in read]),
    }
    if k:
        arrays["sample"] = np.array([i for n in counts for i in range(n)])
    more = {"temperature": temperature, "seeds": True} if k else {}
    bytes_before = np.concatenate(([0], np.cumsum(lengths)))
    return VerdictTexts(
        arrays,
        offsets={"A": ends, "X": bytes_before[ends]},
        meta={"grammar": GRAMMAR.to_json(), "D": 9, "samples": k, **more},
        size=len(samples),
    )


def judge(texts: Any, strategy: Any = self_consistency, options: Any = None) -> Any:
    """Return the judgements of a strategy on texts."""
    context = Context(task="prompt_harm", options=options)
    return strategy(EvidenceBundle({VerdictTexts: texts}), context)


VOTES = [
    ["safe", "safe", "unsafe\nS1", "unsafe\nS1,S2", "safe"],
    ["unsafe\nS2", "unsafe\nS2", "unsafe\nS2", "unsafe\nS2", "unsafe\nS2"],
    ["safe", "unsafe\nS10", "unsa|cut", "sorry", "unsafe\nS1|cut"],
]


def test_scores_are_the_shares_of_samples() -> None:
    """The greedy answer is no vote; a cut or unread answer is none for unsafe."""
    judged = judge(texts_of(VOTES))

    assert [2 / 4, 1.0, 2 / 4] == judged.score.tolist()
    assert judged.lower is None
    assert judged.upper is None
    assert ["S1", "S2", "S10"] == list(judged.labels)
    # an "S1" that was cut may have become S10
    assert [[0.5, 0.25, 0.0], [0, 1, 0], [0, 0, 0.25]] == judged.categories.tolist()
    assert [math.log(2), 0.0, math.log(2)] == pytest.approx(judged.uncertainty)
    assert "score of 5 values" in judged.note
    assert "up to 0.25" in judged.note
    assert "2 of 12 sampled answers hold no level" in judged.note


def test_the_variation_ratio_is_the_share_without_the_majority() -> None:
    """As of an ensemble's votes."""
    options = SelfConsistencyOptions(uncertainty="variation_ratio")

    assert [0.5, 0.0, 0.5] == judge(
        texts_of(VOTES), options=options
    ).uncertainty.tolist()


def test_the_entropy_of_outcomes_counts_what_verdicts_mean() -> None:
    """Order and spelling of labels are no difference; no level is one outcome."""
    samples = [
        ["safe", "unsafe\nS1,S2", "unsafe\nS2, S1", "safe", "safe"],
        ["safe", "no", "never", "safe", "unsafe\nS1"],
    ]

    judged = judge(texts_of(samples), sampled_verdict_entropy)

    expected = [math.log(2), -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25))]
    assert expected == pytest.approx(judged.uncertainty)
    assert [0.5, 0.25] == judged.score.tolist()


def test_intervals_are_wilson_s() -> None:
    """Against SciPy, on every share of 4 and of labels."""
    samples = [["safe", *["unsafe\nS1"] * n, *["safe"] * (4 - n)] for n in range(5)]
    options = SampledTextsOptions(bounds="wilson")

    judged = judge(texts_of(samples), options=SelfConsistencyOptions(bounds="wilson"))
    entropies = judge(texts_of(samples), sampled_verdict_entropy, options)

    for n in range(5):
        interval = binomtest(n, 4).proportion_ci(0.95, method="wilson")
        for found in (judged, entropies):
            assert interval.low == pytest.approx(found.lower[n], abs=1e-12)
            assert interval.high == pytest.approx(found.upper[n], abs=1e-12)
        assert interval.low == pytest.approx(judged.category_lower[n, 0], abs=1e-12)
    assert "95 % intervals" in judged.note


def test_what_was_cut_off_may_be_either_in_an_interval() -> None:
    """Of 4 samples, two of which were cut: "unsa", and "S1" that may become S10."""
    options = SelfConsistencyOptions(bounds="wilson")

    judged = judge(texts_of(VOTES[2:]), options=options)

    def end(count: int, side: str) -> float:
        interval = binomtest(count, 4).proportion_ci(0.95, method="wilson")
        return float(getattr(interval, side))

    assert end(2, "low") == pytest.approx(judged.lower[0])
    assert end(3, "high") == pytest.approx(judged.upper[0])
    assert [end(n, "low") for n in (0, 0, 1)] == pytest.approx(judged.category_lower[0])
    assert [end(n, "high") for n in (2, 2, 3)] == pytest.approx(
        judged.category_upper[0]
    )


def test_another_temperature_and_a_server_that_repeats_itself_are_noted() -> None:
    """Their shares estimate something else than P(unsafe)."""
    repeats = texts_of([["safe", "safe", "safe"]] * 8, temperature=0.5)

    note = judge(repeats).note

    assert "temperature 0.5" in note
    assert "all samples of each prompt are equal" in note
    assert "equal" not in judge(texts_of(VOTES)).note


def test_the_greedy_answer_alone_decides_for_greedy() -> None:
    """Its labels as 0 and 1, its failure as one; its probability is not known."""
    samples = [
        *(["unsafe\nS2,S10"], ["safe"], ["Sorry."], ["unsaf" + CUT], [""]),
        *(["unsafe and bad"], ["unsafe\nS1"]),
    ]

    judged = judge(texts_of(samples), greedy)

    np.testing.assert_array_equal(
        judged.score, [1.0, 0.0, np.nan, np.nan, np.nan, 1.0, 1.0]
    )
    assert judged.uncertainty is None
    assert [0.0, 1.0, 1.0] == judged.categories[0].tolist()
    assert [None, None] == [judged.errors[0], judged.errors[1]]
    assert "wrote 'Sorry.', which is no level" in judged.errors[2]
    assert "in 9 tokens" in judged.errors[3]
    assert "wrote nothing" in judged.errors[4]
    assert "1 of 7 samples" in judged.category_note


@pytest.mark.parametrize(
    ("samples", "reasons"),
    [
        ([["no"], ["safe"]], [True, False]),
        # a sample without a level in most of its answers fails for all strategies
        ([["safe", "no", "no", "no"], ["no", "safe", "safe", "no"]], [True, False]),
        # what was cut may have become a level: the greedy answer decides
        ([["no", "un" + CUT, "no"], ["safe", "un" + CUT, "no"]], [True, False]),
    ],
    ids=["greedy", "mostly", "cut"],
)
def test_a_verdict_that_is_not_read_is_a_failure_and_not_safe(
    samples: Any, reasons: list[bool]
) -> None:
    """The floor is that of trees: half of the answers hold a level."""
    bundle = EvidenceBundle({VerdictTexts: texts_of(samples)})

    assert reasons == [bool(r) for r in bundle.unread([None, None], 0.5)]


def test_text_behind_a_verdict_is_counted() -> None:
    """It may deny what is read: of the greedy answer, and of the sampled ones."""
    samples = [["safe\nor rather unsafe", "safe, no", "unsafe\nS1"], ["safe"] * 3]

    for strategy, said in ((greedy, "1 of 2 verdicts"), (self_consistency, "1 of 4")):
        note = judge(texts_of(samples), strategy).note
        assert said in note
        assert "followed by text off the grammar, which is not read" in note
        assert "off the grammar" not in judge(texts_of([["safe"] * 3]), strategy).note


def test_an_answer_that_a_filter_replaced_may_be_either() -> None:
    """As one that was cut: in the upper end of an interval, and in no other."""
    options = SelfConsistencyOptions(bounds="wilson")
    texts = texts_of([["safe", "", "", "safe", "safe"]])
    before = judge(texts, options=options)
    finish: Any = texts["finish"]
    texts.arrays["finish"] = np.array([STOP, FILTER, FILTER, STOP, STOP], finish.dtype)
    after = judge(texts, options=options)

    interval = binomtest(2, 4).proportion_ci(method="wilson")
    assert before.score.tolist() == after.score.tolist() == [0.0]
    assert before.lower.tolist() == after.lower.tolist()
    assert interval.high == pytest.approx(after.upper[0])
    assert before.upper[0] < after.upper[0]
    assert after.category_upper[0].tolist() == pytest.approx([interval.high] * 3)
