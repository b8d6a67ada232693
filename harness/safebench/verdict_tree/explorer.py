"""From prompts to verdict trees: one forward pass a level, for all live prompts.

A model is bound to a grammar and to options once. Prompts that do not fit into the
batch wait, and are admitted as others finish.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import ENGINE_VERSION
from .bounds import TreeBounds
from .forced_tokens import NO_CONTINUATION, ForcedContinuations
from .logits import LogitSummarizer
from .model import DraftModel
from .monte_carlo import MonteCarloSampler
from .quick_logits import QuickLogitSummarizer
from .session import SpeculativeTree, open_session
from .stopping import (
    BestFirstRule,
    ExpansionStep,
    GreedyRule,
    ThresholdRule,
    TreeLimits,
)
from .tree import NodeExpander, Nodes, TreeBatch, root_nodes
from .unlikely_openers import UnlikelyOpeners
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.evidence import VerdictTree
    from safebench.typing import Array

    from .grammar import Grammar
    from .logits import LogitQuery, LogitSummary
    from .model import NextTokenModel
    from .session import SessionHandles
    from .stopping import ExpansionRule, StoppingRule
    from .vocabulary import Encode

    Summarize = Callable[[Any, LogitQuery, Vocabulary], LogitSummary]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploreOptions:
    """How far trees are grown.

    A node of probability `eps` or more is expanded, but at most `max_nodes` a prompt
    (None: no limit) besides the greedy and forced ones; with a `stopping_rule`, the
    likeliest first and no more than it needs. A verdict has at most `max_tokens`, EOS
    included (None: those of the longest canonical one). The `top_k` largest logits are
    recorded on the greedy path. `force_canonical` says whether the canonical tokens of
    all levels and labels are recorded, however unlikely. Of every tree that leaves
    something open, `mc_samples` verdicts are drawn at random (`mc_seed`).
    `draft_opener` is the opener (often "") after which canonical verdicts are run along
    with the prompt, if the model can: more tokens, but fewer passes one after another.
    `engine` is the version that trees are marked with. With `greedy_only` nothing is
    expanded but the greedy path, and nothing is forced. Levels after an opener that
    have less than `forced_floor` together are not followed, unless something hangs on
    them (`UnlikelyOpeners`). With `quick`, logits on a processor are summarized by
    exponentials in float32.
    """

    eps: float = 1e-3
    max_nodes: int | None = 256
    stopping_rule: StoppingRule | None = None
    max_tokens: int | None = None
    top_k: int = 16
    force_canonical: bool = True
    mc_samples: int = 0
    mc_seed: int = 0
    draft_opener: str | None = None
    engine: int = ENGINE_VERSION
    greedy_only: bool = False
    forced_floor: float = 0.0
    quick: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptStats:
    """What exploring one prompt cost, and the verdict that the model writes.

    `forward_passes` is its share of the batch's, `tokens` how many nodes were run
    beyond the prompt, for the tree and for Monte Carlo samples, `raw` the greedy text.
    With an `error` its tree is a bare root.
    """

    forward_passes: float
    tokens: int
    raw: str
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exploration:
    """The trees of a batch of prompts, with statistics of each prompt."""

    tree: VerdictTree
    stats: list[PromptStats]


class TreeExplorer:
    """A model bound to a grammar: build it once, explore many batches.

    `encode` gives the canonical token ids of a text (default: the longest tokens from
    the left). `summarize` may read logits on the model's device.
    """

    no_numbers = "the model gave NaN logits"  # why a sample fails

    def __init__(
        self,
        model: NextTokenModel,
        grammar: Grammar,
        options: ExploreOptions | None = None,
        *,
        encode: Encode | None = None,
        summarize: Summarize | None = None,
    ) -> None:
        self.model = model
        self.options = options or ExploreOptions()
        self.vocabulary = Vocabulary.of_model(grammar, model, encode)
        self.automaton = self.vocabulary.automaton
        self.max_tokens = self.options.max_tokens or self.vocabulary.longest_verdict()
        self.top_k = min(self.options.top_k, len(self.vocabulary))
        usual = QuickLogitSummarizer if self.options.quick else LogitSummarizer
        self._summarize = summarize or usual()
        self._sampler = MonteCarloSampler(
            self.vocabulary, self.options.mc_samples, self.options.mc_seed
        )
        self._limits = TreeLimits(
            self.automaton, self.max_tokens, self.options.eps, self.options.max_nodes
        )
        self._expander = NodeExpander(
            vocabulary=self.vocabulary,
            continuations=ForcedContinuations(
                self.vocabulary, enabled=self._forces_canonical
            ),
            eps=self.options.eps,
            top_k=self.top_k,
        )
        self._draft: SpeculativeTree | None = None
        if self.options.draft_opener is not None:
            self.enable_draft(self.options.draft_opener)

    @property
    def _forces_canonical(self) -> bool:
        return self.options.force_canonical and not self.options.greedy_only

    @property
    def meta(self) -> dict[str, Any]:
        """What all trees share, as JSON values that are stored with the evidence."""
        options = self.options
        rule = options.stopping_rule.meta if options.stopping_rule else {"rule": "eps"}
        if options.greedy_only:
            rule = {"rule": "greedy"}
        sampling = {"mc_samples": options.mc_samples, "mc_seed": options.mc_seed}
        spanning = [
            [token.opener, token.level] for token in self.vocabulary.spanning_tokens
        ]
        return {
            "engine": options.engine,
            "grammar": self.automaton.grammar.to_json(),
            "D": self.max_tokens,
            "K": self.top_k,
            "eos": sorted(self.model.eos),
            "stop": {
                **rule,
                "eps": options.eps,
                "max_nodes": options.max_nodes,
            },
            "forced": self._forces_canonical,
            **(sampling if options.mc_samples else {}),
            **({"forced_floor": floor} if (floor := options.forced_floor) else {}),
            "openers": self.vocabulary.encoded_openers(),
            **({"spanned": spanning} if spanning else {}),
        }

    def enable_draft(self, opener: str | None) -> int:
        """Run canonical verdicts after `opener` along with every prompt; None: do not.

        Returns how many tokens are added to a prompt, 0 where nothing can be drafted.
        """
        continuations, self._draft = self._expander.continuations, None
        can_draft = continuations.enabled and isinstance(self.model, DraftModel)
        if opener is not None and can_draft:
            self._draft = SpeculativeTree.after_opener(
                opener,
                self.vocabulary,
                continuations,
                at_root=not self.options.forced_floor,
            )
        return len(self._draft) if self._draft else 0

    def explore(
        self, prompts: Sequence[Sequence[int]], batch_tokens: int | None = None
    ) -> Exploration:
        """Grow the trees of prompts (token ids), all in one batch.

        With `batch_tokens` the batch never holds more rows x longest row, in tokens of
        prompt and draft: the prompts that come later (the longest should come first)
        wait until fewer than half of its rows are live. Monte Carlo samples need all
        prompts at once.
        """
        # Programming errors, both: callers form the batches.
        assert len(prompts), "there is nothing to explore"
        assert batch_tokens is None or not self.options.mc_samples, (
            "Monte Carlo samples need all prompts"
        )
        passes_before = self.model.forward_calls
        drafted = len(self._draft) if self._draft else 0
        admission = BatchAdmission(
            [len(prompt) + drafted for prompt in prompts], batch_tokens
        )
        continuations = self._expander.continuations
        search = TreeSearch(
            self._context(),
            self._expansion_rule(),
            UnlikelyOpeners(
                self.automaton,
                self.options.forced_floor if continuations.enabled else 0.0,
                self.options.eps,
            ),
            keep_session=self.options.mc_samples > 0,
        )
        session = search.run(prompts, admission)
        trees, failed = search.trees, sorted(search.failed)
        tree = trees.to_evidence(self.meta, self.automaton.pending, failed)
        nodes_run = trees.expansion_counts()
        if self.options.mc_samples:
            tree_bounds = TreeBounds(tree)
            samples = self._sampler.draw(session, tree_bounds, prompts, failed)
            tree, nodes_run = samples.add_to(tree_bounds), nodes_run + samples.tokens
        # Passes are shared by a batch, so that a prompt's share can be a fraction.
        share = (self.model.forward_calls - passes_before) / len(prompts)
        return Exploration(
            tree=tree, stats=self._prompt_stats(search, share, nodes_run)
        )

    def _context(self) -> ExpansionContext:
        continuation = int(self._expander.continuations.state_continuations[0])
        return ExpansionContext(
            model=self.model,
            expander=self._expander,
            summarize=self._summarize,
            draft=self._draft,
            limits=self._limits,
            root_continuation=continuation,
            # Also where only a token that spans an opener and a level may follow.
            root_allows_level=bool(self.automaton.allows_level[0])
            or continuation != NO_CONTINUATION,
        )

    def _expansion_rule(self) -> ExpansionRule:
        if self.options.greedy_only:
            return GreedyRule(self._limits)
        if self.options.stopping_rule is None:
            return ThresholdRule(self._limits)
        return BestFirstRule(self.options.stopping_rule, self._limits)

    def _prompt_stats(
        self, search: TreeSearch, share: float, nodes_run: Array
    ) -> list[PromptStats]:
        token_bytes, eos = self.vocabulary.token_bytes, self.vocabulary.eos
        texts = [
            b"".join(token_bytes[token] for token in path if not eos[token])
            for path in search.trees.greedy_tokens()
        ]
        return [
            PromptStats(
                forward_passes=share,
                tokens=max(0, int(count) - 1),
                raw=texts[row].decode(errors="replace"),
                error=self.no_numbers if row in search.failed else None,
            )
            for row, count in enumerate(nodes_run)
        ]


def explore(
    model: NextTokenModel,
    prompts: Sequence[Sequence[int]],
    grammar: Grammar,
    options: ExploreOptions | None = None,
) -> Exploration:
    """Grow the verdict trees of one batch of prompts (see `TreeExplorer`)."""
    return TreeExplorer(model, grammar, options).explore(prompts)


class BatchAdmission:
    """Admits N prompts in order, with rows x longest row within `batch_tokens`.

    A batch is refilled once fewer than half of its rows are live: prefilling often, a
    few prompts at a time, would cost more than it gains. Admission depends on lengths
    and on which prompts are live, so that it is reproducible. A prompt that is alone
    may be longer than `batch_tokens` (None: no limit).
    """

    def __init__(self, lengths: Sequence[int], batch_tokens: int | None = None) -> None:
        self._lengths = np.asarray(lengths, dtype=np.int64)
        self._batch_tokens = np.inf if batch_tokens is None else batch_tokens
        self._next = 0
        self._peak_rows = 0  # rows after the last admission

    @property
    def waiting(self) -> bool:
        """Whether there are prompts that have not been admitted."""
        return self._next < len(self._lengths)

    def has_room(self, live: Array) -> bool:
        """Return whether prompts wait and a batch with the prompts `live` has room."""
        return self.waiting and (not len(live) or 2 * len(live) < self._peak_rows)

    def admit(self, live: Array) -> range:
        """Return the prompts to admit beside those that are `live`; may be none."""
        lengths = self._lengths[self._next :]
        longest = np.maximum.accumulate(lengths)
        longest = np.maximum(longest, self._lengths[live].max(initial=0))
        rows = len(live) + 1 + np.arange(len(lengths))
        too_many = np.nonzero(rows * longest > self._batch_tokens)[0]
        count = int(too_many[0]) if len(too_many) else len(lengths)
        if not len(live):
            count = max(
                1, count
            )  # or a prompt longer than the limit would wait forever
        first, self._next = self._next, self._next + count
        self._peak_rows = len(live) + count
        return range(first, self._next)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpansionContext:
    """What a search needs: the model, and what turns its logits into nodes."""

    model: NextTokenModel
    expander: NodeExpander
    summarize: Summarize
    draft: SpeculativeTree | None
    limits: TreeLimits
    root_continuation: int
    root_allows_level: bool


class TreeSearch:
    """Grows the trees of prompts, wave by wave, until the rule selects no node.

    `openers` keeps what need not be followed. `failed` are the prompts whose logits
    were NaN. With `keep_session` no prompt is dropped, so that the session can be used
    after the search.
    """

    def __init__(
        self,
        context: ExpansionContext,
        rule: ExpansionRule,
        openers: UnlikelyOpeners,
        *,
        keep_session: bool,
    ) -> None:
        self.trees = TreeBatch()
        self.failed: set[int] = set()
        self.session: SessionHandles | None = None
        self._context = context
        self._rule = rule
        self._openers = openers
        self._keep_session = keep_session

    def run(
        self, prompts: Sequence[Sequence[int]], admission: BatchAdmission
    ) -> SessionHandles:
        """Grow the trees of one or more prompts; return their session."""
        nodes = root_nodes(0, self._context.root_continuation, allows_level=False)
        while True:
            nodes = self._refill(nodes, prompts, admission)
            assert self.session is not None
            if not len(nodes):
                return self.session
            wave, waiting = _split_due(self.session, nodes)
            logits, handles = self.session.expand(
                wave.row, wave.parent_handle, wave.token
            )
            nodes = self._expand_wave(wave, logits, handles, waiting)

    def _refill(
        self, nodes: Nodes, prompts: Sequence[Sequence[int]], admission: BatchAdmission
    ) -> Nodes:
        """Return the nodes to expand, with those of prompts that are admitted."""
        while admission.waiting and admission.has_room(live := np.unique(nodes.row)):
            admitted = admission.admit(live)
            if not admitted:
                break
            nodes = self._admit([prompts[i] for i in admitted], nodes)
        return nodes

    def _admit(self, prompts: Sequence[Sequence[int]], waiting: Nodes) -> Nodes:
        """Prefill prompts in one pass; return `waiting` and their nodes to expand."""
        context, trees = self._context, self.trees
        session = open_session(context.model, prompts, context.draft)
        logits = session.root_logits()
        if self.session is None:
            self.session = session
        else:
            self.session.join(session)
        numbers = {"row": trees.n_trees, "index": trees.n_nodes}
        roots = root_nodes(
            len(prompts),
            context.root_continuation,
            allows_level=context.root_allows_level,
            **numbers,
        )
        trees.add_roots(roots)
        self._rule.add_roots(roots)
        self._openers.add_trees(len(roots))
        return self._expand_wave(roots, logits, np.full(len(roots), -1), waiting)

    def _expand_wave(
        self, wave: Nodes, logits: Array, handles: Array, waiting: Nodes
    ) -> Nodes:
        """Add the children of a wave; return `waiting` with the nodes to expand.

        `logits` (Q, V) are those of its nodes. Prompts of which nothing is left to
        expand are dropped.
        """
        expander, session = self._context.expander, self.session
        expected = (len(wave), len(expander.vocabulary))
        assert logits.shape == expected, f"logits {logits.shape}, not {expected}"
        summary = self._context.summarize(
            logits, expander.query(wave), expander.vocabulary
        )
        # NaN in one prompt's logits must not stop the others of its batch.
        self.failed.update(wave.row[summary.invalid].tolist())
        children, remainders = expander.children(
            wave, handles, summary, self.trees.n_nodes
        )
        children = self._openers.put_aside(wave, children)
        self.trees.add_expansion(wave, remainders, summary, children)
        nodes = Nodes.concat(
            [waiting, self._rule.select(ExpansionStep(wave, remainders, children))]
        )
        if due := self._openers.due(np.setdiff1d(wave.row, nodes.row)):
            nodes = Nodes.concat([nodes, self._context.limits.expandable(due)])
        nodes = nodes.select(~np.isin(nodes.row, sorted(self.failed)))
        finished = np.setdiff1d(wave.row, nodes.row)
        if len(finished) and session is not None and not self._keep_session:
            session.drop(finished)
        return nodes


def _split_due(session: SessionHandles, nodes: Nodes) -> tuple[Nodes, Nodes]:
    """Return the nodes to expand now, and those that wait.

    Drafted nodes cost nothing: they come first, so that all that need a forward pass
    share the next one.
    """
    # Sessions require ascending rows; stable, so that results do not depend on ties.
    nodes = nodes.select(np.argsort(nodes.row, kind="stable"))
    drafted = session.is_drafted(nodes.parent_handle, nodes.token)
    due = drafted if drafted.any() else ~drafted
    return nodes.select(due), nodes.select(~due)
