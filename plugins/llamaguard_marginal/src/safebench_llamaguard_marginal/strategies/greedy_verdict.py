"""The greedy verdict: its decision, and uncertainties from the tokens it is made of.

`greedy` reads the recorded tree, or the text that was written; the others read the
greedy path alone, which guards without a tree can record too. Higher is less sure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safebench.errors import OptionError
from safebench.evidence import GreedyPath
from safebench.strategies import Judgements, LabelColumns, first_reason
from safebench.verdict_tree import Grammar
from safebench_llamaguard_marginal.texts.evidence import GreedyVerdict

from .common import (
    PositiveOptions,
    count_unread_labels,
    joined_notes,
    label_bits,
    nan_where,
)

if TYPE_CHECKING:
    from safebench.evidence import EvidenceBundle
    from safebench.strategies import Context
    from safebench.typing import Array, Floats

_NO_SECOND = "n/a: the second likeliest token of a place was not listed"
NO_TOKENS = "n/a: the greedy verdict has no tokens"


def greedy(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Score 1 if the greedy verdict is positive, else 0; its labels as 0 and 1.

    Uncertainty is 1 - P(greedy verdict), which is not known of a text alone. A verdict
    in which no level was read has no score; its error shows what was written instead.
    """
    options = context.options or PositiveOptions()
    verdict = evidence[GreedyVerdict]
    grammar = Grammar.from_json(verdict.meta["grammar"])
    level = verdict["level"]
    failed = level < 0
    # A level of -1 indexes the last entry, which stands for none.
    positive = np.array([*grammar.positive_mask(context.task, options.positive), False])
    has_label = label_bits(verdict["labels_mask"], len(grammar.all_labels))
    answers = [*grammar.answers(context.task, options.positive)]
    is_positive = positive[level] | has_label[:, answers].any(axis=1)
    numbers = grammar.categories(context.task)
    columns = LabelColumns([*numbers], context.policy)
    return Judgements(
        size=len(verdict),
        score=nan_where(is_positive, failed),
        labels=columns.names,
        categories=columns.arrange(
            nan_where(has_label[:, [*numbers.values()]], failed)
        ),
        uncertainty=1.0 - verdict["p"] if "p" in verdict else None,
        errors=verdict.failures(context.written),
        note=joined_notes("two-valued score", _goes_on(verdict)),
        category_note=count_unread_labels(verdict["unread_labels"]),
    )


def _goes_on(verdict: GreedyVerdict) -> str:
    """Count the verdicts that other text follows: "safe" may be denied there."""
    count = int(verdict["goes_on"].sum()) if "goes_on" in verdict else 0
    if not count:
        return ""
    return (
        f"{count} of {len(verdict)} verdicts are followed by text off the grammar, "
        "which is not read"
    )


def msp(evidence: EvidenceBundle, _: Context) -> Judgements:
    """Return -log P(verdict) in nats, its maximum sequence probability.

    The token that ends the verdict is part of it, here and below.
    """
    path = evidence[GreedyPath]
    return _judgements(path, _sum_per_sample(path, -path["logp"]))


def perplexity(evidence: EvidenceBundle, _: Context) -> Judgements:
    """Return -log P(verdict) over its number of tokens: the log of its perplexity."""
    path = evidence[GreedyPath]
    return _judgements(path, _mean_per_sample(path, -path["logp"]))


def mean_token_entropy(evidence: EvidenceBundle, _: Context) -> Judgements:
    """Return the mean entropy of its tokens over the full vocabulary, in nats."""
    path = evidence[GreedyPath]
    return _judgements(path, _mean_per_sample(path, path["entropy"]))


def max_token_entropy(evidence: EvidenceBundle, _: Context) -> Judgements:
    """Return the largest entropy of its tokens over the full vocabulary, in nats."""
    path = evidence[GreedyPath]
    return _judgements(path, _max_per_sample(path, path["entropy"]))


def margin(evidence: EvidenceBundle, _: Context) -> Judgements:
    """Return 1 - the smallest margin of a token over the second likeliest, in P."""
    path = evidence[GreedyPath]
    top = np.exp(path["top_logp"][:, :2])
    if top.shape[1] < 2:  # noqa: PLR2004 - a margin is between two
        raise OptionError("margin needs two recorded tokens a place, there is one")
    # where a server did not list the second token, it may be as likely as the first
    margins = np.nan_to_num(1.0 - (top[:, 0] - top[:, 1]), nan=np.inf)
    judged = _judgements(path, _max_per_sample(path, margins))
    assert judged.uncertainty is not None
    unknown = np.isposinf(judged.uncertainty)
    judged.uncertainty = np.where(unknown, np.nan, judged.uncertainty)
    reasons = first_reason((unknown, _NO_SECOND))
    judged.errors = [a or b for a, b in zip(judged.errors, reasons, strict=True)]
    return judged


def energy(evidence: EvidenceBundle, _: Context) -> Judgements:
    """Return the mean of -logsumexp of the raw logits (Liu et al., 2020)."""
    path = evidence[GreedyPath]
    return _judgements(path, _mean_per_sample(path, -path["log_norm"]))


def _judgements(path: GreedyPath, uncertainty: Floats) -> Judgements:
    empty = _token_counts(path) == 0
    return Judgements(
        size=len(path),
        uncertainty=np.where(empty, np.nan, uncertainty),
        errors=first_reason((empty, NO_TOKENS)),
    )


def _token_counts(path: GreedyPath) -> Floats:
    return np.diff(path.offsets["T"]).astype(np.float64)


def _sample_indices(path: GreedyPath) -> Array:
    """Return the sample of each token, (T,)."""
    return np.repeat(np.arange(len(path)), np.diff(path.offsets["T"]))


def _sum_per_sample(path: GreedyPath, values: Floats) -> Floats:
    total = np.bincount(_sample_indices(path), values, len(path))
    return total.astype(np.float64)  # without tokens it counts in integers


def _mean_per_sample(path: GreedyPath, values: Floats) -> Floats:
    return _sum_per_sample(path, values) / np.maximum(_token_counts(path), 1.0)


def _max_per_sample(path: GreedyPath, values: Floats) -> Floats:
    largest = np.full(len(path), -np.inf)
    np.maximum.at(largest, _sample_indices(path), values.astype(np.float64))
    return largest
