"""The kinds of evidence that safebench knows; plugins may define more.

Dims: B samples, N tree nodes, E expanded nodes, G expanded greedy nodes, T verdict
tokens, K kept alternatives, R random draws, W windows, M members, C classes, L labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Evidence

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from safebench.typing import Array


class VerdictTree(Evidence):
    """Explored continuations of a verdict, with the probability of all others.

    `meta`: ``engine`` version, ``grammar`` (`safebench.verdict_tree.grammar.Grammar` as
    JSON), token budget ``D``, ``K``, ``eos`` ids, ``stop`` rule with its parameters,
    ``forced``, and what the classifier adds, such as ``policy``.

    Nodes: 0 of a sample is its root (parent -1, token -1, logp 0); parents come first;
    `parent` and `node` count within the sample. `logp` is conditional on the parent.
    `state` is that of the grammar's automaton, `level` the level that was read (-1:
    none), `label` the one completed by this token (-1: none), `labels_mask` those
    completed on the path, `slot` how many, repeats counted, and `pending` the trie node
    of a label being read (-1: none). `flags`: greedy 1, forced 2, malformed 4, level
    start 8 (a level may start here, or a token that holds one), label start 16 (labels
    branch below). `status`: open 0, expanded 1, ended 2.

    Of each expanded node, three remainders are the conditional probability of the
    tokens that got no child: children + `stop` + `closed` + `rest` = 1. After `stop`
    the verdict is what it would be if it ended at the node; after `closed` it holds the
    pending label and goes on; of `rest` nothing more is known.
    `safebench.verdict_tree.TreeBounds` turns all this
    into bounds.

    From logits, expanded nodes have `log_norm` (their logsumexp) and `entropy` (nats),
    greedy ones the K largest `top_logits`. A served model lists a few tokens and their
    log-probabilities: then greedy nodes have `top_logp`, `unlisted` is the part of
    `rest` (conditional) of tokens that were not listed, and `unlisted_forced` how many
    forced tokens have no node since they were not.

    Monte Carlo samples, if requested (``mc_samples`` with ``mc_seed`` of every tree
    that left something open): `mc_node` and `mc_kind` (open leaf 0, closed 1, rest 2)
    are the open part that was drawn by its mass; `mc_level`, `mc_labels` and `mc_first`
    (the first label) are the verdict that was then sampled.

    Several trees a sample, one for each of Q ``questions`` in `meta`, are stored one
    behind the other; `question_nodes`, `question_expanded`, `question_greedy` and
    `question_draws` say how many rows each has. `fold` and `unfold` do and undo that.

    Of guards that reason before their verdict, `reasoning_tokens` is the length of each
    reasoning about a sample, and `reasoning_ended` whether a verdict came after it;
    `meta` has what ``reasoning`` was asked for.
    """

    # stored so since the first version, wherever the class is defined
    kind_id = "safebench.evidence.kinds.VerdictTree"
    unread = "safebench.verdict_tree.unread:unread_verdicts"
    unanswered = "safebench.verdict_tree.unread:unanswered_task"
    SCHEMA = {
        "parent": ("i32", "N"),
        "token": ("i32", "N"),
        "logp": ("f64", "N"),
        "state": ("i16", "N"),
        "level": ("i8", "N"),
        "label": ("i8", "N"),
        "labels_mask": ("u64", "N"),
        "slot": ("u8", "N"),
        "pending": ("i16", "N"),
        "flags": ("u8", "N"),
        "status": ("u8", "N"),
        "node": ("i32", "E"),
        "stop": ("f64", "E"),
        "closed": ("f64", "E"),
        "rest": ("f64", "E"),
        "log_norm": ("f32", "E"),
        "entropy": ("f32", "E"),
        "unlisted": ("f64", "E"),
        "unlisted_forced": ("i32", "E"),
        "greedy_node": ("i32", "G"),
        "top_ids": ("i32", "G,K"),
        "top_logits": ("f32", "G,K"),
        "top_logp": ("f64", "G,K"),
        "mc_node": ("i32", "R"),
        "mc_kind": ("u8", "R"),
        "mc_level": ("i8", "R"),
        "mc_labels": ("u64", "R"),
        "mc_first": ("i8", "R"),
        "question_nodes": ("i64", "B,Q"),
        "question_expanded": ("i64", "B,Q"),
        "question_greedy": ("i64", "B,Q"),
        "question_draws": ("i64", "B,Q"),
        "reasoning_tokens": ("i32", "Y"),
        "reasoning_ended": ("bool", "Y"),
    }
    _COUNTS = {
        "N": "question_nodes",
        "E": "question_expanded",
        "G": "question_greedy",
        "R": "question_draws",
    }
    OF_LOGITS = frozenset({"log_norm", "entropy", "top_logits"})
    OF_LISTED = frozenset({"unlisted", "unlisted_forced", "top_logp"})
    OPTIONAL = frozenset(
        {"mc_node", "mc_kind", "mc_level", "mc_labels", "mc_first", *_COUNTS.values()}
        | {"reasoning_tokens", "reasoning_ended"}
        | OF_LOGITS
        | OF_LISTED
    )

    @property
    def of_logits(self) -> bool:
        """Whether the logits were read, and not a list of a few tokens."""
        return "log_norm" in self.arrays

    @property
    def questions(self) -> tuple[str, ...]:
        """What each sample has a tree for, by name; empty where it has one tree."""
        return tuple(self.meta.get("questions", ()))

    @property
    def question_rule(self) -> str:
        """How the answers to all questions are one: "mean", or "": as is asked for."""
        return str(self.meta.get("question_rule", ""))

    def fold(self, questions: Sequence[str], rule: str = "") -> Self:
        """Return B samples of B x Q trees: of each, one for each of the questions.

        `rule` is the `question_rule` of the result.
        """
        import numpy as np

        size, rest = divmod(len(self), len(questions))
        assert not rest, f"{len(self)} trees for {len(questions)} questions"
        counts = {
            name: np.diff(self.offsets[dim]).reshape(size, len(questions))
            for dim, name in self._COUNTS.items()
            if dim in self.offsets
        }
        return type(self)(
            {**self.arrays, **counts},
            offsets={
                dim: rows[:: len(questions)] for dim, rows in self.offsets.items()
            },
            meta={**self.meta, "questions": list(questions)}
            | ({"question_rule": rule} if rule else {}),
            size=size,
        )

    def unfold(self) -> Self:
        """Return the tree of every question as a sample of its own."""
        import numpy as np

        if not self.questions:
            return self
        offsets = {
            dim: np.concatenate(([0], np.cumsum(self[self._COUNTS[dim]].ravel())))
            for dim in self.offsets
            if dim in self._COUNTS
        }
        # what is known of a sample as a whole belongs to none of its trees
        apart = {*self._COUNTS.values(), "reasoning_tokens", "reasoning_ended"}
        return type(self)(
            {k: v for k, v in self.arrays.items() if k not in apart},
            offsets=offsets,
            meta={
                k: v
                for k, v in self.meta.items()
                if k not in ("questions", "question_rule")
            },
            size=len(self) * len(self.questions),
        )

    @property
    def decisions_only_at(self) -> float | None:
        """The threshold at which the trees were grown to certify decisions, or None."""
        threshold: float | None = self.meta.get("stop", {}).get("decisions_only_at")
        return threshold

    def impossible(self) -> str | None:
        """Name a share of probability outside [0, 1], or that is not a number."""
        import numpy as np

        for name in ("logp", "stop", "closed", "rest"):
            values = np.exp(self[name]) if name == "logp" else self[name]
            if np.isnan(values).any():
                return f"{name} is NaN"
            if (outside := _outside_unit(values)) is not None:
                return f"{name} stands for a probability of {outside}"
        return None


class GreedyPath(Evidence):
    """The greedy verdict of a guard, with the likeliest alternatives of each token.

    What a service that returns top-k log-probabilities can give. `token` and `logp` are
    those written, the one that ends the verdict included; `top_ids` and `top_logp` the
    K likeliest in their place, the likeliest first. Where the full vocabulary is known:
    `entropy` (nats), `log_norm` (logsumexp of the logits) and the raw `logits` of the K
    likeliest. `label_logits` are those of the first token in which labels differ, in
    the first label's slot (NaN where there is none). None of these is known of a model
    that lists a few tokens alone.

    `meta`: ``labels`` (L policy codes).
    """

    kind_id = "safebench.evidence.kinds.GreedyPath"
    SCHEMA = {
        "token": ("i32", "T"),
        "logp": ("f64", "T"),
        "top_ids": ("i32", "T,K"),
        "top_logp": ("f64", "T,K"),
        "entropy": ("f32", "T"),
        "log_norm": ("f32", "T"),
        "logits": ("f32", "T,K"),
        "label_logits": ("f64", "B,L"),
    }
    OPTIONAL = frozenset({"entropy", "log_norm", "logits", "label_logits"})
    derived_from = {VerdictTree: "safebench.verdict_tree.greedy_path:greedy_path"}
    derived_fields = {
        "entropy": "entropy",
        "log_norm": "log_norm",
        "logits": "top_logits",
        "label_logits": "log_norm",
    }


class SeedTree(Evidence):
    """What the first public implementation of token-level marginals computes.

    Recorded on request, for ``compat=original``. Nodes: 0 of a sample is its root; then
    those that its search went on from (`expanded`) or that end in a label. `mass` is
    unconditional; `ends` (and `said_ends`) are the texts that the verdict ends in
    there, as bits: one a label, then that of the level that takes labels. `said` and
    `p` are the greedy verdict without its end; `label_logits` those of each label's
    second token after the forced start of a verdict.

    `meta`: ``search`` version, ``grammar``, ``eos``, ``top_p``, ``eps``,
    ``max_new_tokens``, ``greedy_tokens``.
    """

    kind_id = "safebench.evidence.kinds.SeedTree"
    SCHEMA = {
        "parent": ("i32", "N"),
        "token": ("i32", "N"),
        "mass": ("f64", "N"),
        "ends": ("u64", "N"),
        "expanded": ("bool", "N"),
        "said": ("i32", "T"),
        "p": ("f64", "T"),
        "said_ends": ("u64", "T"),
        "label_logits": ("f64", "B,L"),
    }


class Scores(Evidence):
    """Label scores as a keyword list or a moderation API reports them.

    `meta`: ``labels`` (L names), ``scale`` (probability, score or ordinal),
    ``threshold`` (the provider's own, or null), ``tasks`` ({task: label} where one
    label answers a task; without it the largest value over labels is the score) and
    ``categories`` ({label: policy code}) where labels are categories. `flagged` is the
    provider's own decision.
    """

    kind_id = "safebench.evidence.kinds.Scores"
    SCHEMA = {"values": ("f64", "B,L"), "flagged": ("bool", "B")}
    OPTIONAL = frozenset({"flagged"})

    def impossible(self) -> str | None:
        """Name a value outside [0, 1] where the scale says probability."""
        # Other scales have ends of their own, which nobody declares.
        if self.meta.get("scale") != "probability":
            return None
        outside = _outside_unit(self["values"])
        return None if outside is None else f"a probability of {outside}"


class MemberLogits(Evidence):
    """Class logits of M ensemble members on every window of the input.

    `meta`: ``link`` (softmax or sigmoid), ``classes`` (C names), ``tasks``
    ({class: [task, polarity +1 | -1]}), ``members`` (M names); where the outputs are
    those of a regression, ``probability`` is false and ``note`` says so. A model that
    answers several tasks has ``readings`` ({task: C polarities}), one whose classes are
    categories ``categories`` ({class: policy code}).
    """

    kind_id = "safebench.evidence.kinds.MemberLogits"
    SCHEMA = {"logits": ("f32", "W,M,C")}

    def polarity(self, task: str) -> list[int]:
        """Return what each class says about a task, (C,).

        1: its presence is positive, -1: its absence is, 0: nothing.
        """
        readings: dict[str, list[int]] = self.meta.get("readings", {})
        if task in readings:
            return readings[task]
        tasks = self.meta["tasks"]
        return [
            tasks[name][1] if name in tasks and tasks[name][0] == task else 0
            for name in self.meta["classes"]
        ]

    @property
    def answered(self) -> list[str]:
        """The tasks that the classes say anything about, sorted."""
        named = {task for task, _ in self.meta["tasks"].values()}
        return sorted(named | set(self.meta.get("readings", {})))


class Cost(Evidence):
    """One number a sample without a unit: below 0 is safe, and more is worse.

    `spread` is the standard deviation over the members whose mean `value` is; a model
    of one network has none.

    `meta`: ``bias`` and ``temperature``, with which P(harm) is the logistic function
    of (value - bias) / temperature, and ``n_calibration``, the labels that they were
    fitted on; bias and temperature are null where the model carries none.
    """

    kind_id = "safebench.evidence.kinds.Cost"
    SCHEMA = {"value": ("f64", "B"), "spread": ("f64", "B")}
    OPTIONAL = frozenset({"spread"})


def _outside_unit(values: Array) -> str | None:
    from .arrays import outside_unit  # with numpy, which declaring must not import

    return outside_unit(values)
