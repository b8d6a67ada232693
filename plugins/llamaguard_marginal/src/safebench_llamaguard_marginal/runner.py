"""What explores the trees of a guard: a network of this process, or an engine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from safebench.errors import OptionError
from safebench.torch_utils import Batcher
from safebench.verdict_tree import (
    ExploreOptions,
    SparseExplorer,
    TreeExplorer,
    stopping_rule,
)
from safebench_llamaguard_marginal.engines.catalog import HF
from safebench_llamaguard_marginal.engines.chat_model import ChatModel
from safebench_llamaguard_marginal.engines.conversations import (
    Conversations,
    start_conversations,
)
from safebench_llamaguard_marginal.engines.served_guard import (
    ServedGuard,
    load_served_guard,
)
from safebench_llamaguard_marginal.model.allocator import reuse_large_blocks
from safebench_llamaguard_marginal.model.architecture import max_prompt_tokens
from safebench_llamaguard_marginal.model.loading import LoadedGuard, load_guard
from safebench_llamaguard_marginal.model.torch_logits import TorchLogitSummarizer
from safebench_llamaguard_marginal.model.verdict_grammar import (
    continuation_encoder,
    draft_option_value,
    pick_draft_opener,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from safebench.records import Sample
    from safebench.typing import Floats
    from safebench.verdict_tree import Grammar
    from safebench_llamaguard_marginal.prompt.prompt_builder import SamplePrompts

    from .options import GuardOptions

# What has less cannot be told from rounding: no strategy's result changes by more.
LEAN_FLOOR = 1e-6
# In tokens, on a CPU: trees without unlikely openers have fewer nodes a pass.
LEAN_BATCH_TOKENS = 16384
LEAN_VOCABULARY = 32768  # of a larger one the logits of such a batch fill the memory
_NO_LIMIT = 1 << 40  # tokens of a batch: an engine makes its own batches


class GuardRunner(Protocol):
    """Runs one loaded guard.

    Prompts go through `batcher`. `draft_length` is how many tokens are run along with
    each prompt.
    """

    batcher: Batcher
    draft_length: int

    @property
    def guard(self) -> LoadedGuard | ServedGuard:
        """The guard that it runs."""

    def explorer(self, grammar: Grammar) -> TreeExplorer:
        """Return what explores verdicts of a grammar."""

    def enable_draft(self, explorers: Iterable[TreeExplorer]) -> None:
        """Set up what is run along with prompts, now that the explorers are known."""

    def prompt_limit(self, answer: int) -> int:
        """Return the longest prompt, in tokens, that leaves room for `answer` more."""

    def converse(
        self, samples: Sequence[Sample], prompts: Sequence[Sequence[SamplePrompts]]
    ) -> list[str | None]:
        """Take notice of the prompts of samples; return why one cannot be asked."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of what was recorded since it was opened."""

    def use_budget(self) -> None:
        """Let the model follow the batcher's budget, which may have shrunk."""

    def first_tokens(self, prompts: Sequence[Sequence[int]]) -> Floats:
        """Return the distribution of the next token, (B, V), as far as it is known."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What "auto" became, as JSON."""

    @property
    def state(self) -> Mapping[str, Any]:
        """What is stored beside evidence, as JSON: who answers, if it is a server."""

    def close(self) -> None:
        """Free the model."""


def open_runner(options: GuardOptions) -> GuardRunner:
    """Load the guard that the options name, where they say that it runs."""
    if options.runs_on == HF:
        return NetworkRunner(options, load_guard(options))
    return EngineRunner(options, load_served_guard(options))


class NetworkRunner:
    """Runs a guard as a network in this process."""

    def __init__(self, options: GuardOptions, guard: LoadedGuard) -> None:
        self.options = options
        self._guard = guard
        model = guard.model
        model.on_device = model.device.type != "cpu"  # and summarized there
        model.in_groups = options.is_lean
        device = model.device.type
        if device == "cpu":
            reuse_large_blocks()
        n_tokens = len(model.token_bytes)
        self.batcher = Batcher.for_device(
            device, _batch_tokens(options, device, n_tokens)
        )
        self.draft_opener: str | None = None
        self.draft_length = 0

    @property
    def guard(self) -> LoadedGuard:
        """The guard that it runs."""
        return self._guard

    def explorer(self, grammar: Grammar) -> TreeExplorer:
        """Return what explores verdicts of a grammar, by logits."""
        model = self.guard.model
        return TreeExplorer(
            model,
            grammar,
            explore_options(self.options),
            encode=continuation_encoder(self.guard),
            summarize=TorchLogitSummarizer() if model.on_device else None,
        )

    def enable_draft(self, explorers: Iterable[TreeExplorer]) -> None:
        """Pick the opener of the draft, and turn it on."""
        explorers = list(explorers)
        self.draft_opener = pick_draft_opener(
            self.options.draft,
            self.guard,
            explorers[0].vocabulary,
            lean=self.options.is_lean,
        )
        # In tokens a prompt: the draft is part of the batch that prefills prompts.
        self.draft_length = max(
            explorer.enable_draft(self.draft_opener) for explorer in explorers
        )

    def prompt_limit(self, answer: int) -> int:
        """Return the longest prompt that the network takes."""
        return max_prompt_tokens(
            self.options.max_length,
            answer,
            self.guard.model.network.config,
            windows=self.guard.model.tree_layout == "tree",
        )

    def converse(
        self,
        samples: Sequence[Sample],
        prompts: Sequence[Sequence[SamplePrompts]],  # noqa: ARG002 - see GuardRunner
    ) -> list[str | None]:
        """Return nothing against any: prompts go to the network as they are."""
        return [None] * len(samples)

    @property
    def notes(self) -> tuple[str, ...]:
        """Nothing: all that is to be known is known when it is loaded."""
        return ()

    def use_budget(self) -> None:
        """Let passes of one row a node follow the budget."""
        self.guard.model.tokens_per_pass = self.batcher.budget

    def first_tokens(self, prompts: Sequence[Sequence[int]]) -> Floats:
        """Return the distribution of the next token, (B, V), in one batch."""
        raw: Any = self.guard.model.open(prompts).root_logits()
        # on a GPU they stay there, and bfloat16 has no counterpart in NumPy
        host = raw.double().cpu().numpy() if hasattr(raw, "cpu") else raw
        logits = np.asarray(host, dtype=np.float64)
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(p / p.sum(axis=1, keepdims=True))

    @property
    def facts(self) -> Mapping[str, Any]:
        """Device, number format, kernel, layout and draft."""
        network = self.guard.model.network
        opener = self.draft_opener if self.draft_length else None
        return {
            "device": self.guard.model.device.type,
            "dtype": str(network.dtype).removeprefix("torch."),
            "attention": network.config._attn_implementation,  # noqa: SLF001 - no other way
            "layout": self.guard.model.tree_layout,
            "draft": draft_option_value(opener),
        }

    @property
    def state(self) -> Mapping[str, Any]:
        """Nothing: its files say what the network is."""
        return {}

    def close(self) -> None:
        """Free the model."""
        vars(self).pop("_guard", None)


class EngineRunner:
    """Runs a guard in an engine that lists next tokens."""

    draft_length = 0

    def __init__(self, options: GuardOptions, guard: ServedGuard) -> None:
        self.options = options
        self._guard = guard
        self.batcher = Batcher(options.batch_tokens or _NO_LIMIT)
        self._unlisted = ""
        self._conversations = (
            Conversations(guard.profile, guard.policy)
            if isinstance(guard.model, ChatModel)
            else None
        )

    @property
    def guard(self) -> ServedGuard:
        """The guard that it runs."""
        return self._guard

    def explorer(self, grammar: Grammar) -> TreeExplorer:
        """Return what explores verdicts of a grammar, by listed tokens."""
        unlisted = self.options.unlisted
        if unlisted == "auto" and grammar.mode == "lenient":
            unlisted = "cap"  # nearly all tokens go on: they cannot all be asked for
        if unlisted == "ids" and not self.guard.model.max_ids:
            raise OptionError(
                f"llamaguard: unlisted=ids, and engine={self.options.runs_on} lists "
                "the likeliest tokens alone here; unlisted=cap would work"
            )
        explorer = SparseExplorer(
            self.guard.model,
            grammar,
            self._explore_options(),
            encode=continuation_encoder(self.guard),
            unlisted=unlisted,
        )
        self._unlisted = explorer.unlisted
        return explorer

    def enable_draft(self, explorers: Iterable[TreeExplorer]) -> None:
        """Do nothing: a level of all trees is one batch."""

    def prompt_limit(self, answer: int) -> int:
        """Return the longest prompt that model and engine take."""
        limit = max_prompt_tokens(
            self.options.max_length, answer, self.guard.config, windows=False
        )
        served = self.guard.model.max_tokens
        room = served - answer if served else limit
        if room < 1 or room < self.options.max_length:
            raise OptionError(
                f"llamaguard: engine={self.options.runs_on} takes {served} tokens, "
                f"{answer} of them for the answer; max_length={max(room, 0)} would work"
            )
        return min(limit, room)

    def _explore_options(self) -> ExploreOptions:
        options = explore_options(self.options)
        if not isinstance(self.guard.model, ChatModel):
            return options
        if options.stopping_rule:
            raise OptionError(
                f"llamaguard: stop={self.options.stop} is for trees that are expanded, "
                "and the chat endpoint gives the greedy path alone"
            )
        return replace(options, greedy_only=True)

    def converse(
        self, samples: Sequence[Sample], prompts: Sequence[Sequence[SamplePrompts]]
    ) -> list[str | None]:
        """Tell a chat endpoint which conversations stand behind prompts."""
        model = self.guard.model
        if not isinstance(model, ChatModel) or self._conversations is None:
            return [None] * len(samples)
        return start_conversations(model, self._conversations, samples, prompts)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the engine has to say by now."""
        return self.guard.model.notes

    def use_budget(self) -> None:
        """Do nothing: the engine makes its own batches."""

    def first_tokens(self, prompts: Sequence[Sequence[int]]) -> Floats:
        """Return the distribution of the next token, (B, V), 0 where not listed."""
        model = self.guard.model
        listed = model.top_tokens([list(prompt) for prompt in prompts])
        p = np.zeros((len(prompts), len(model.token_bytes)))
        for row, (ids, logp) in enumerate(zip(listed.ids, listed.logp, strict=True)):
            p[row, ids[ids >= 0]] = np.exp(logp[ids >= 0])
        return p

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the engine says of itself, and how much of a distribution it lists."""
        return {
            "attention": self.options.runs_on,
            "layout": "engine",
            "draft": "off",
            **self.guard.model.facts,
            "top_logprobs": self.guard.model.top_k,
            "unlisted": self._unlisted,
        }

    @property
    def state(self) -> Mapping[str, Any]:
        """What the engine says of itself beside its facts."""
        return self.guard.model.state

    def close(self) -> None:
        """End the engine, if it was started here."""
        if guard := vars(self).pop("_guard", None):
            guard.model.close()


def explore_options(options: GuardOptions) -> ExploreOptions:
    """Return how far trees are expanded, and what is sampled from the rest."""
    return ExploreOptions(
        eps=options.eps,
        max_nodes=options.max_nodes,
        stopping_rule=stopping_rule(
            options.stop, width=options.width, delta=options.delta, tau=options.tau
        ),
        max_tokens=options.max_new_tokens or None,
        engine=options.tree_version,
        mc_samples=options.mc_samples,
        mc_seed=options.mc_seed,
        forced_floor=LEAN_FLOOR if options.is_lean else 0.0,
        quick=options.is_lean,
    )


def _batch_tokens(options: GuardOptions, device: str, vocabulary: int) -> int:
    """Return the budget of a batch, 0 for that of the device."""
    larger = options.is_lean and device == "cpu" and vocabulary <= LEAN_VOCABULARY
    return options.batch_tokens or (LEAN_BATCH_TOKENS if larger else 0)
