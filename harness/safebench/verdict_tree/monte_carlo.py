"""Monte Carlo samples of what a tree left open, for points within its bounds.

An open part of the tree is drawn by its mass, then a verdict from the model, token by
token, from the part's node on. Samples are replayed from the root, so that all that
begin alike share their forward passes.

An event's estimate is L + G * P(event | an open part in which it is not yet certain),
with L its lower bound and G the open mass: unbiased, and within the bounds on average.
All samples of a prompt count for every event. To count only those that could still
bring it about would be biased.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from safebench.errors import OptionError

from .automaton import label_bitmask
from .bounds import CLOSED_REMAINDER, LEAF, answer_bits
from .session import to_host
from .vocabulary import CLOSED, OTHER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.evidence import VerdictTree
    from safebench.typing import Array

    from .bounds import LabelPositions, TreeBounds
    from .session import SessionHandles
    from .vocabulary import Vocabulary


class MonteCarloSamples(NamedTuple):
    """M sampled verdicts by ascending prompt, (M,) each.

    `row` is the prompt; `node`, counted over all prompts, and `kind` are the open part
    that was drawn. The verdict ended in `state` of the automaton, with its `labels`
    (bits) and the `first_label` of them (-1: none). `tokens` (B,) counts the nodes run
    for each prompt.
    """

    row: Array
    node: Array
    kind: Array
    state: Array
    labels: Array
    first_label: Array
    tokens: Array

    def add_to(self, bounds: TreeBounds) -> VerdictTree:
        """Return the trees with these samples."""
        tree = bounds.tree
        columns = {
            "mc_node": self.node - tree.offsets["N"][self.row],
            "mc_kind": self.kind,
            "mc_level": bounds.automaton.level[self.state],
            "mc_labels": self.labels,
            "mc_first": self.first_label,
        }
        counts = np.bincount(self.row, minlength=len(tree))
        return type(tree)(
            {**tree.arrays, **columns},
            offsets={**tree.offsets, "R": np.concatenate(([0], np.cumsum(counts)))},
            meta=tree.meta,
            size=len(tree),
        )


class _SamplingPlan(NamedTuple):
    """What M samples start from; `row`, `node` and `kind` as in `MonteCarloSamples`.

    The first `depth` (M,) tokens are those of `prefix` (M, D), the path to the node;
    the others are chosen by `uniform` (M, D) numbers.
    """

    row: Array
    node: Array
    kind: Array
    prefix: Array
    depth: Array
    uniform: Array


@dataclass(slots=True)
class _PartialVerdicts:
    """M verdicts while they are sampled, (M,) each; `token` is the last token."""

    token: Array
    state: Array
    labels: Array
    first_label: Array

    def append(self, verdicts: Array, vocabulary: Vocabulary) -> None:
        """Read the last token of some verdicts (indices)."""
        before = self.state[verdicts]
        for state in np.unique(before):
            selected = verdicts[before == state]
            transitions = vocabulary.transitions(int(state))
            token = self.token[selected]
            label = transitions.closed_label[token]
            self.state[selected] = transitions.next_state[token]
            self.labels[selected] |= label_bitmask(label)
            category = vocabulary.automaton.as_category(label)
            self.first_label[selected] = np.where(
                self.first_label[selected] < 0, category, self.first_label[selected]
            )


class MonteCarloSampler:
    """Samples verdicts from the open parts of every tree of a batch.

    Each prompt has random numbers of its own, from the seed and its tokens, so that
    its samples do not depend on the rest of the batch.
    """

    def __init__(self, vocabulary: Vocabulary, samples: int, seed: int) -> None:
        self._vocabulary = vocabulary
        self._samples = samples
        self._seed = seed

    def draw(
        self,
        session: SessionHandles,
        bounds: TreeBounds,
        prompts: Sequence[Sequence[int]],
        failed: Sequence[int],
    ) -> MonteCarloSamples:
        """Return samples of every tree that has something open and has not failed."""
        plan = self._plan(bounds, prompts, failed)
        zero = np.zeros(len(plan.row), dtype=np.int64)
        verdicts = _PartialVerdicts(
            zero.copy(), zero.copy(), zero.astype(np.uint64), zero - 1
        )
        parents, tokens = zero - 1, np.zeros(len(bounds.tree), dtype=np.int64)
        # The row of `logits` that follows each sample; at first that of its prompt.
        logits, at = session.root_logits(), plan.row.copy()
        for step in range(plan.uniform.shape[1]):
            unfinished = (step < plan.depth) | bounds.automaton.open[verdicts.state]
            live = np.nonzero(unfinished)[0]
            if not len(live):
                break
            if step:
                keys = (plan.row[live], parents[live], verdicts.token[live])
                # Samples that have said the same so far are one node, run once for all.
                nodes, inverse = np.unique(keys, axis=1, return_inverse=True)
                logits, handles = session.expand(*nodes)
                at[live], parents[live] = inverse.ravel(), handles[inverse.ravel()]
                tokens += np.bincount(nodes[0], minlength=len(tokens))
            on_prefix = live[step < plan.depth[live]]
            verdicts.token[on_prefix] = plan.prefix[on_prefix, step]
            self._sample_tokens(
                bounds,
                plan,
                step,
                np.setdiff1d(live, on_prefix),
                logits,
                at,
                verdicts,
            )
            verdicts.append(live, self._vocabulary)
        return MonteCarloSamples(
            *plan[:3], verdicts.state, verdicts.labels, verdicts.first_label, tokens
        )

    def _plan(
        self,
        bounds: TreeBounds,
        prompts: Sequence[Sequence[int]],
        failed: Sequence[int],
    ) -> _SamplingPlan:
        """Draw an open part for every sample, by mass."""
        max_tokens, parts = int(bounds.tree.meta["D"]), bounds.partition
        open_ = np.nonzero(parts.open)[0]
        drawn_parts = [np.empty(0, dtype=np.int64)]
        uniforms = [np.empty((0, max_tokens))]
        for row in np.setdiff1d(parts.sample[open_], failed):
            parts_of_row = open_[parts.sample[open_] == row]
            generator = np.random.default_rng([self._seed, *prompts[row]])
            # All numbers are drawn at once, whatever is used of them: so a sample is
            # the same however the batch goes on.
            uniform = generator.random((self._samples, 1 + max_tokens))
            drawn_parts.append(
                parts_of_row[_sample_indices(parts.mass[parts_of_row], uniform[:, 0])]
            )
            uniforms.append(uniform[:, 1:])
        drawn = np.concatenate(drawn_parts)
        node, depth = parts.node[drawn], bounds.depth[parts.node[drawn]]
        return _SamplingPlan(
            parts.sample[drawn],
            node,
            parts.kind[drawn],
            _path_tokens(bounds, node),
            depth,
            np.concatenate(uniforms),
        )

    def _sample_tokens(
        self,
        bounds: TreeBounds,
        plan: _SamplingPlan,
        step: int,
        live: Array,
        logits: Array,
        at: Array,
        verdicts: _PartialVerdicts,
    ) -> None:
        """Sample the next token of `live` verdicts.

        The first token from a remainder is one of those that the remainder sums up.
        """
        inside = (plan.depth[live] == step) & (plan.kind[live] != LEAF)
        node = np.where(inside, plan.node[live], -1)
        kind = np.where(inside, plan.kind[live], LEAF)
        cases, case_of = np.unique((at[live], node, kind), axis=1, return_inverse=True)
        for i, (source, from_node, from_kind) in enumerate(cases.T):
            # Samples that begin alike share a row of logits, and one softmax of it.
            z = to_host(logits[source])
            p = np.exp(z - z.max())
            if from_node >= 0:
                p[~self._remainder_tokens(bounds, from_node, from_kind)] = 0.0
            same = live[case_of.ravel() == i]
            verdicts.token[same] = _sample_indices(p, plan.uniform[same, step])

    def _remainder_tokens(self, bounds: TreeBounds, node: int, kind: int) -> Array:
        """Return which tokens (V,) the remainder `kind` of a node sums up."""
        tree, sample = bounds.tree, bounds.sample[node]
        transitions = self._vocabulary.transitions(int(tree["state"][node]))
        tokens: Array = np.equal(
            transitions.kind, CLOSED if kind == CLOSED_REMAINDER else OTHER
        )
        begin, end = tree.offsets["N"][sample : sample + 2]
        children = tree["parent"][begin:end] == node - begin
        tokens[tree["token"][begin:end][children]] = False
        return tokens


def _sample_indices(mass: Array, uniform: Array) -> Array:
    """Return indices of `mass` (n,), drawn by it with uniform numbers in [0, 1)."""
    cumulative = np.cumsum(mass)
    index: Array = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
    # Rounding may put a number beyond the last sum.
    return np.minimum(index, len(mass) - 1)


def _path_tokens(bounds: TreeBounds, node: Array) -> Array:
    """Return the tokens from the root to each node, (M, D); 0 after the node."""
    tokens = np.zeros((len(node), int(bounds.tree.meta["D"])), dtype=np.int64)
    begin = bounds.tree.offsets["N"][bounds.sample[node]]
    ancestor = node.copy()
    for step in range(tokens.shape[1] - 1, -1, -1):
        at_step = np.nonzero(bounds.depth[ancestor] == step + 1)[0]
        tokens[at_step, step] = bounds.tree["token"][ancestor[at_step]]
        ancestor[at_step] = begin[at_step] + bounds.tree["parent"][ancestor[at_step]]
    return tokens


def level_estimate(bounds: TreeBounds, levels: Sequence[bool]) -> Array:
    """Estimate the probability that one of some levels is read, (B,).

    `levels` says of each level of the grammar whether it is one of them.
    """
    chosen = np.append(np.array(levels, dtype=bool), False)  # level -1 reads the last
    known = bounds.tree["level"][_sampled_nodes(bounds)]
    gained = chosen[bounds.tree["mc_level"]] & ~chosen[known]
    return _estimate(
        bounds, bounds.level_bounds(levels).lower[:, None], gained[:, None]
    )[:, 0]


def label_estimate(bounds: TreeBounds) -> Array:
    """Estimate the probability that each label is read, (B, labels)."""
    tree, node = bounds.tree, _sampled_nodes(bounds)
    closing = label_bitmask(bounds.automaton.stop_label[tree["state"][node]])
    known = tree["labels_mask"][node]
    known = np.where(tree["mc_kind"] == CLOSED_REMAINDER, known | closing, known)
    label = np.arange(len(bounds.automaton.grammar.all_labels), dtype=np.uint64)
    gained = (tree["mc_labels"] & ~known)[:, None] >> label & np.uint64(1) > 0
    return _estimate(bounds, bounds.label_bounds.lower, gained)


def answer_estimate(bounds: TreeBounds, answers: Sequence[int]) -> Array:
    """Estimate the probability that one of some labels is read, (B,)."""
    tree, node = bounds.tree, _sampled_nodes(bounds)
    closing = label_bitmask(bounds.automaton.stop_label[tree["state"][node]])
    known = tree["labels_mask"][node]
    known = np.where(tree["mc_kind"] == CLOSED_REMAINDER, known | closing, known)
    bits = answer_bits(answers)
    gained = (tree["mc_labels"] & bits > 0) & (known & bits == 0)
    lower = bounds.answer_bounds(answers).lower
    return _estimate(bounds, lower[:, None], gained[:, None])[:, 0]


def position_estimate(positions: LabelPositions) -> Array:
    """Estimate the probability of each label to be the first, (B, labels).

    Samples record no position but the first.
    """
    number = positions.position
    assert number == 1, f"samples record their first label, not number {number}"
    bounds = positions.tree_bounds
    tree, count = bounds.tree, len(bounds.automaton.grammar.labels)
    certain = positions.certain_label(_sampled_nodes(bounds), tree["mc_kind"])
    is_first = tree["mc_first"][:, None] == np.arange(count)
    gained = (certain < 0)[:, None] & is_first
    return _estimate(bounds, positions.bounds.lower, gained)


def _sampled_nodes(bounds: TreeBounds) -> Array:
    """Return the node of each sampled verdict, counted over all samples."""
    if "mc_node" not in bounds.tree:
        raise OptionError(
            "point=mc needs draws from the model\n"
            "  record them with mc_samples=100, or choose point=mid"
        )
    counts = np.diff(bounds.tree.offsets["R"])
    begin = np.repeat(bounds.tree.offsets["N"][:-1], counts)
    nodes: Array = begin + bounds.tree["mc_node"]
    return nodes


def _estimate(bounds: TreeBounds, lower: Array, gained: Array) -> Array:
    """Return lower (B, Q) + open mass x mean of `gained` (R, Q); NaN without samples.

    `gained` says of each sampled verdict which events it has beyond what was certain.
    """
    counts = np.diff(bounds.tree.offsets["R"])
    row = np.repeat(np.arange(len(counts)), counts)
    total = np.zeros(lower.shape)
    np.add.at(total, row, gained)
    # Trees without anything open need no samples: their lower bound is exact.
    default = np.where(bounds.open_mass > 0, np.nan, 0.0)[:, None]
    mean = np.broadcast_to(default, lower.shape).copy()
    np.divide(total, counts[:, None], out=mean, where=counts[:, None] > 0)
    estimate: Array = lower + bounds.open_mass[:, None] * mean
    return estimate
