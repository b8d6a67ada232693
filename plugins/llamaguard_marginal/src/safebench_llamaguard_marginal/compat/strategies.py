"""The seven strategies as first published, computed from the search of `search`.

Kept as they are, faults included: expected counts that can exceed 1, products over some
tokens of a path, 0 for a label that was not met, S1 wherever a text ends in S1, and
thresholds that are tuned on the labels they are scored with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from safebench.evidence import SeedTree
from safebench.strategies import Judgements, LabelColumns
from safebench.verdict_tree import Grammar
from safebench_llamaguard_marginal.strategies.common import entropy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from safebench.evidence import EvidenceBundle
    from safebench.strategies import Context
    from safebench.typing import Array, Floats

    Strategy = Callable[[EvidenceBundle, Context], Judgements]

NOTE = "original: literal definitions, not probabilities"


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalOptions:
    """`threshold`: an uncertainty above it gives one label, else two are given."""

    threshold: float = 0.5


def greedy(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Name what some prefix of the greedy verdict ends in, as 0 and 1."""
    tree = evidence[SeedTree]
    ones = np.ones(len(tree["p"]))
    return _judgements(tree, context, _value_at_last_token(tree, ones))


def token_probability(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Give each label the probability of the token with which it last ended."""
    tree = evidence[SeedTree]
    return _judgements(tree, context, _value_at_last_token(tree, tree["p"]))


def marginal_fixed(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Multiply the probabilities of the tokens that end a label, up to each of them."""
    tree = evidence[SeedTree]
    logp = np.where(tree["said_ends"] > 0, np.log(tree["p"]), 0.0)
    total = np.cumsum(np.concatenate(([0.0], logp)))
    offsets = tree.offsets["T"]
    before = total[np.repeat(offsets[:-1], np.diff(offsets))]  # at the sample's start
    products = np.exp(total[1:] - before)
    return _judgements(tree, context, _value_at_last_token(tree, products))


def marginal_any(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Add up the probabilities of all paths of the search that end in a label."""
    tree = evidence[SeedTree]
    ends = _unpack_bits(tree, tree["ends"])
    sums = np.zeros((len(tree), _n_columns(tree)))
    np.add.at(sums, _sample_indices(tree, "N"), ends * tree["mass"][:, None])
    return _judgements(tree, context, sums)


def probability_uncertainty(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Name one label or two after forced words: by 1 / (1 + max pi)."""
    tree = evidence[SeedTree]
    pi = label_shares(tree)
    return _one_or_two(tree, context, 1.0 / (1.0 + pi.max(axis=1)))


def entropy_uncertainty(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Name one label or two after forced words: by the entropy of pi."""
    tree = evidence[SeedTree]
    return _one_or_two(tree, context, entropy(label_shares(tree)))


def logtoku(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Name one label or two after forced words: by evidence over the two best logits.

    EU / AU with alpha the two largest label logits, as they are: negative ones too.
    """
    from scipy.special import digamma  # slow to import, and this alone needs it

    tree = evidence[SeedTree]
    alpha = -np.sort(-tree["label_logits"], axis=1)[:, :2]
    total = alpha.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = alpha / total * (digamma(alpha + 1) - digamma(total + 1))
        epistemic = 2.0 / (2.0 + np.maximum(alpha, 0.0).sum(axis=1))
        uncertainty = epistemic / -terms.sum(axis=1)
    return _one_or_two(tree, context, uncertainty)


STRATEGIES: Mapping[str, Strategy] = {
    "greedy": greedy,
    "token_probability": token_probability,
    "marginal_fixed": marginal_fixed,
    "marginal_any": marginal_any,
    "probability_uncertainty": probability_uncertainty,
    "entropy_uncertainty": entropy_uncertainty,
    "logtoku": logtoku,
}


def label_shares(tree: SeedTree) -> Floats:
    """Return pi, the softmax over label logits alone, (B, L)."""
    z = tree["label_logits"]
    p = np.exp(z - z.max(axis=1, keepdims=True))
    shares: Floats = p / p.sum(axis=1, keepdims=True)
    return shares


def top_two_labels(tree: SeedTree) -> Array:
    """Return the labels (indices) of the two largest logits, (B, 2), largest first."""
    return np.argsort(-tree["label_logits"], axis=1, kind="stable")[:, :2]


def _one_or_two(tree: SeedTree, context: Context, uncertainty: Floats) -> Judgements:
    """Name the likeliest label, and the second too where the first is sure enough."""
    options = context.options or OriginalOptions()
    top_two, rows = top_two_labels(tree), np.arange(len(tree))
    values = np.zeros((len(tree), _n_columns(tree)))
    values[rows, top_two[:, 0]] = 1.0
    values[rows, top_two[:, 1]] = 1.0 * ~(uncertainty > options.threshold)
    values[:, -1] = 1.0  # the level was forced
    return _judgements(tree, context, values, uncertainty)


def _judgements(
    tree: SeedTree,
    context: Context,
    values: Floats,
    uncertainty: Floats | None = None,
) -> Judgements:
    """Return values (B, L + 1) as judgements; the last column is the level's."""
    grammar = Grammar.from_json(tree.meta["grammar"])
    columns = LabelColumns(grammar.label_codes, context.policy)
    return Judgements(
        size=len(tree),
        score=values[:, -1],
        labels=columns.names,
        categories=columns.arrange(values[:, :-1]),
        uncertainty=uncertainty,
        probability=False,
        note=NOTE,
    )


def _value_at_last_token(tree: SeedTree, values: Array) -> Floats:
    """Return the value at the last token that ends each label, 0 without one."""
    token, label = np.nonzero(_unpack_bits(tree, tree["said_ends"]))
    last = np.zeros((len(tree), _n_columns(tree)))
    # Tokens are in order: the last that is written wins.
    last[_sample_indices(tree, "T")[token], label] = values[token]
    return last


def _sample_indices(tree: SeedTree, dim: str) -> Array:
    """Return the sample of each node (dim "N") or token ("T")."""
    return np.repeat(np.arange(len(tree)), np.diff(tree.offsets[dim]))


def _n_columns(tree: SeedTree) -> int:
    return len(tree.meta["grammar"]["labels"]) + 1


def _unpack_bits(tree: SeedTree, bits: Array) -> Array:
    """Return bit sets (n,) as booleans (n, L + 1)."""
    index = np.arange(_n_columns(tree), dtype=np.uint64)
    mask: Array = (bits[:, None] >> index) & np.uint64(1) > 0
    return mask


def tune_probability_uncertainty(
    evidence: EvidenceBundle, context: Context, truth: Array
) -> OriginalOptions:
    """Choose the threshold of `probability_uncertainty` with the labels it scores."""
    return _tune(probability_uncertainty, evidence, context, truth)


def tune_entropy_uncertainty(
    evidence: EvidenceBundle, context: Context, truth: Array
) -> OriginalOptions:
    """Choose the threshold of `entropy_uncertainty` with the labels it scores."""
    return _tune(entropy_uncertainty, evidence, context, truth)


def tune_logtoku(
    evidence: EvidenceBundle, context: Context, truth: Array
) -> OriginalOptions:
    """Choose the threshold of `logtoku` with the labels it scores."""
    return _tune(logtoku, evidence, context, truth)


def _tune(
    strategy: Strategy, evidence: EvidenceBundle, context: Context, truth: Array
) -> OriginalOptions:
    uncertainty = strategy(evidence, context).uncertainty
    assert uncertainty is not None, f"{strategy} gives no uncertainty"
    top_two = top_two_labels(evidence[SeedTree])
    return OriginalOptions(threshold=best_threshold(uncertainty, top_two, truth))


def best_threshold(uncertainty: Array, top_two: Array, truth: Array) -> float:
    """Return the threshold with the best micro-F1 of naming one label above it.

    `uncertainty` (B,); `top_two` (B, 2) indices of the likeliest labels; `truth` (B, L)
    true labels. Tuned on the samples that are scored, it flatters: results that use it
    are no estimate of anything. Candidates are -inf (always one label) and every
    uncertainty; the smallest of the best is chosen.
    """
    rows = np.arange(len(uncertainty))[:, None]
    hits = truth[rows, top_two].astype(np.int64)  # (B, 2)
    order = np.argsort(uncertainty, kind="stable")
    # Entry i: the first i samples in order of uncertainty name their second label too.
    second_hits = np.concatenate(([0], np.cumsum(hits[order, 1])))
    true_positives = hits[:, 0].sum() + second_hits
    n_named = len(uncertainty) + np.arange(len(uncertainty) + 1)
    f1 = 2.0 * true_positives / np.maximum(n_named + truth.sum(), 1)
    thresholds = np.concatenate(([-np.inf], uncertainty[order]))
    # Equal uncertainties fall on one side: only the last of a run can be a threshold.
    is_last = np.append(thresholds[1:] > thresholds[:-1], True)
    return float(thresholds[np.argmax(np.where(is_last, f1, -1.0))])
