"""Exploring: from prompts to verdict trees, with a model bound to a grammar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import ENGINE_VERSION
from .automaton import compile_grammar
from .cut import Cut
from .digest import digest
from .draft import Draft
from .growth import Growth
from .intake import Intake
from .loop import LevelLoop, Tools
from .protocol import DraftModel
from .rules import EpsRule, Limits
from .sampler import Sampler
from .scripts import NONE, Scripts
from .until import BestFirst
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from safebench.evidence import VerdictTree

    from .digest import Digester
    from .grammar import Grammar
    from .protocol import NextTokenModel
    from .rules import Rule
    from .until import Until
    from .vocabulary import Spell

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploreOptions:
    """How far trees are grown.

    A node of probability `eps` or more is expanded, but at most `max_nodes` a prompt
    (None: no limit) besides the greedy and forced ones; with `until`, the likeliest
    first and no more than it asks for. `budget` is the most tokens of a verdict, EOS
    included (None: those of the longest canonical one). `top` logits are recorded on
    the greedy path. `forced` False leaves the canonical spellings out. Of every tree
    that leaves something open, `mc_samples` verdicts are drawn at random (`mc_seed`).
    `draft` names the opener (often "") after which canonical spellings are run along
    with the prompt, if the model can: more tokens, but fewer passes one after another.
    """

    eps: float = 1e-3
    max_nodes: int | None = 256
    until: Until | None = None
    budget: int | None = None
    top: int = 16
    forced: bool = True
    mc_samples: int = 0
    mc_seed: int = 0
    draft: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What exploring one prompt took and gave.

    `forward_passes` is its share of the batch's, `tokens` the nodes run beyond the
    prompt, for the tree and for draws, `raw` the greedy text. With an `error` its
    tree is a bare root.
    """

    forward_passes: float
    tokens: int
    raw: str
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exploration:
    """The trees of a batch of prompts, with the facts about each prompt."""

    tree: VerdictTree
    facts: list[Facts]


class Explorer:
    """A model bound to a grammar: build it once, explore many batches.

    `spell` gives the canonical token ids of a text (default: the longest pieces from
    the left). `digester` may read logits on the model's device.
    """

    def __init__(
        self,
        model: NextTokenModel,
        grammar: Grammar,
        options: ExploreOptions | None = None,
        *,
        spell: Spell | None = None,
        digester: Digester = digest,
    ) -> None:
        self.model = model
        self.options = options or ExploreOptions()
        self.table = compile_grammar(grammar)
        self.vocabulary = Vocabulary(self.table, model.pieces, model.eos, spell)
        self.budget = self.options.budget or self.vocabulary.budget()
        self.top = min(self.options.top, len(self.vocabulary))
        self._digest = digester
        self._sampler = Sampler(
            self.vocabulary, self.options.mc_samples, self.options.mc_seed
        )
        self._limits = Limits(
            self.table, self.budget, self.options.eps, self.options.max_nodes
        )
        self._growth = Growth(
            vocabulary=self.vocabulary,
            scripts=Scripts(self.vocabulary, wanted=self.options.forced),
            eps=self.options.eps,
            top=self.top,
        )
        self._draft: Draft | None = None
        if self.options.draft is not None:
            self.draft_after(self.options.draft)

    @property
    def meta(self) -> dict[str, Any]:
        """What is the same for all trees, as JSON values."""
        options = self.options
        rule = options.until.meta if options.until else {"rule": "eps"}
        drawn = {"mc_samples": options.mc_samples, "mc_seed": options.mc_seed}
        spanned = [[one.opener, one.level] for one in self.vocabulary.spanned]
        return {
            "engine": ENGINE_VERSION,
            "grammar": self.table.grammar.to_json(),
            "D": self.budget,
            "K": self.top,
            "eos": sorted(self.model.eos),
            "stop": {
                **rule,
                "eps": options.eps,
                "max_nodes": options.max_nodes,
            },
            "forced": options.forced,
            **(drawn if options.mc_samples else {}),
            "openers": self.vocabulary.spelled_openers(),
            **({"spanned": spanned} if spanned else {}),
        }

    def draft_after(self, opener: str | None) -> int:
        """Run canonical spellings after `opener` along with every prompt; None: stop.

        Returns how many tokens that is a prompt, 0 where nothing can be drafted.
        """
        scripts, self._draft = self._growth.scripts, None
        if opener is not None and scripts.wanted and isinstance(self.model, DraftModel):
            self._draft = Draft.under(opener, self.vocabulary, scripts)
        return len(self._draft) if self._draft else 0

    def explore(
        self, prompts: Sequence[Sequence[int]], budget: int | None = None
    ) -> Exploration:
        """Grow the trees of prompts (token ids), all in one batch.

        With a `budget` the batch never holds more rows x longest row, in tokens of
        prompt and draft: the prompts that come later (the longest should come first)
        wait until fewer than half of its rows are live. Draws need all of them at once.
        """
        assert len(prompts), "there is nothing to explore"
        assert budget is None or not self.options.mc_samples, "draws need all prompts"
        before = self.model.forward_calls
        extra = len(self._draft) if self._draft else 0
        intake = Intake([len(prompt) + extra for prompt in prompts], budget)
        loop = LevelLoop(self._tools(), self._rule(), keep=self.options.mc_samples > 0)
        session = loop.run(prompts, intake)
        forest, failed = loop.forest, sorted(loop.failed)
        tree = forest.pack(self.meta, self.table.pending, failed)
        run = forest.expansions()
        if self.options.mc_samples:
            cut = Cut(tree)
            draws = self._sampler.draw(session, cut, prompts, failed)
            tree, run = draws.added_to(cut), run + draws.tokens
        share = (self.model.forward_calls - before) / len(prompts)
        return Exploration(tree=tree, facts=self._facts(loop, share, run))

    def _tools(self) -> Tools:
        script = int(self._growth.scripts.opening[0])
        return Tools(
            model=self.model,
            growth=self._growth,
            digester=self._digest,
            draft=self._draft,
            first=script,
            opener=bool(self.table.opener[0]) or script != NONE,
        )

    def _rule(self) -> Rule:
        if self.options.until is None:
            return EpsRule(self._limits)
        return BestFirst(self.options.until, self._limits)

    def _facts(self, loop: LevelLoop, share: float, run: Array) -> list[Facts]:
        pieces, eos = self.vocabulary.pieces, self.vocabulary.eos
        said = [
            b"".join(pieces[token] for token in path if not eos[token])
            for path in loop.forest.greedy_tokens()
        ]
        return [
            Facts(
                forward_passes=share,
                tokens=max(0, int(count) - 1),
                raw=said[row].decode(errors="replace"),
                error="the model gave NaN logits" if row in loop.failed else None,
            )
            for row, count in enumerate(run)
        ]


def explore(
    model: NextTokenModel,
    prompts: Sequence[Sequence[int]],
    grammar: Grammar,
    options: ExploreOptions | None = None,
) -> Exploration:
    """Grow the verdict trees of one batch of prompts (see `Explorer`)."""
    return Explorer(model, grammar, options).explore(prompts)
