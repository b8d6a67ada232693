"""From prompts to verdict trees: a model, bound to a grammar and to options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import ENGINE_VERSION
from .automaton import compile_grammar
from .bounds import TreeBounds
from .forced_tokens import NO_CONTINUATION, ForcedContinuations
from .logits import summarize_logits
from .model import DraftModel
from .monte_carlo import MonteCarloSampler
from .search import BatchAdmission, ExpansionContext, TreeSearch
from .session import SpeculativeTree
from .stopping import BestFirstRule, ThresholdRule, TreeLimits
from .tree import NodeExpander
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.evidence import VerdictTree
    from safebench.typing import Array

    from .grammar import Grammar
    from .logits import LogitSummarizer
    from .model import NextTokenModel
    from .stopping import ExpansionRule, StoppingRule
    from .vocabulary import Encode


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

    def __init__(
        self,
        model: NextTokenModel,
        grammar: Grammar,
        options: ExploreOptions | None = None,
        *,
        encode: Encode | None = None,
        summarize: LogitSummarizer = summarize_logits,
    ) -> None:
        self.model = model
        self.options = options or ExploreOptions()
        self.automaton = compile_grammar(grammar)
        self.vocabulary = Vocabulary(
            self.automaton, model.token_bytes, model.eos, encode
        )
        self.max_tokens = self.options.max_tokens or self.vocabulary.longest_verdict()
        self.top_k = min(self.options.top_k, len(self.vocabulary))
        self._summarize = summarize
        self._sampler = MonteCarloSampler(
            self.vocabulary, self.options.mc_samples, self.options.mc_seed
        )
        self._limits = TreeLimits(
            self.automaton, self.max_tokens, self.options.eps, self.options.max_nodes
        )
        self._expander = NodeExpander(
            vocabulary=self.vocabulary,
            continuations=ForcedContinuations(
                self.vocabulary, enabled=self.options.force_canonical
            ),
            eps=self.options.eps,
            top_k=self.top_k,
        )
        self._draft: SpeculativeTree | None = None
        if self.options.draft_opener is not None:
            self.enable_draft(self.options.draft_opener)

    @property
    def meta(self) -> dict[str, Any]:
        """What all trees share, as JSON values that are stored with the evidence."""
        options = self.options
        rule = options.stopping_rule.meta if options.stopping_rule else {"rule": "eps"}
        sampling = {"mc_samples": options.mc_samples, "mc_seed": options.mc_seed}
        spanning = [
            [token.opener, token.level] for token in self.vocabulary.spanning_tokens
        ]
        return {
            "engine": ENGINE_VERSION,
            "grammar": self.automaton.grammar.to_json(),
            "D": self.max_tokens,
            "K": self.top_k,
            "eos": sorted(self.model.eos),
            "stop": {
                **rule,
                "eps": options.eps,
                "max_nodes": options.max_nodes,
            },
            "forced": options.force_canonical,
            **(sampling if options.mc_samples else {}),
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
                opener, self.vocabulary, continuations
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
        search = TreeSearch(
            self._context(),
            self._expansion_rule(),
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
            root_continuation=continuation,
            # Also where only a token that spans an opener and a level may follow.
            root_allows_level=bool(self.automaton.allows_level[0])
            or continuation != NO_CONTINUATION,
        )

    def _expansion_rule(self) -> ExpansionRule:
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
                error="the model gave NaN logits" if row in search.failed else None,
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
