"""The classifier `llamaguard`: samples in, verdict trees and their traces out."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.classifiers import Classifier, Recording, Trace
from safebench.evidence import EvidenceBundle, SeedTree, VerdictTree
from safebench.strategies import Context
from safebench.torch_utils import Batcher, default_batch_tokens
from safebench.verdict_tree import (
    DecisionStop,
    ExploreOptions,
    GapStop,
    StoppingRule,
    TreeExplorer,
    summarize_logits,
)
from safebench_llamaguard_marginal.compat.search import (
    OriginalSearch,
    OriginalSearchOptions,
    record_original_search,
)
from safebench_llamaguard_marginal.model.architecture import max_prompt_tokens
from safebench_llamaguard_marginal.model.loading import LoadedGuard, load_guard
from safebench_llamaguard_marginal.model.torch_logits import TorchLogitSummarizer
from safebench_llamaguard_marginal.model.verdict_grammar import (
    continuation_encoder,
    draft_option_value,
    pick_draft_opener,
    verdict_grammar,
)
from safebench_llamaguard_marginal.prompt.chat_template import PromptError
from safebench_llamaguard_marginal.prompt.prompt_builder import PromptBuilder
from safebench_llamaguard_marginal.strategies.marginal import marginal_any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from safebench.evidence import Evidence
    from safebench.records import Sample
    from safebench.verdict_tree import Exploration
    from safebench_llamaguard_marginal.prompt.prompt_builder import SamplePrompts

    from .options import GuardOptions


@dataclass(frozen=True, slots=True)
class ExploredPrompt:
    """One prompt's tree, by its row among all of a shard, and what it cost."""

    row: int
    seconds: float = 0.0
    forward_passes: float = 0.0
    tokens: int = 0
    raw: str | None = None
    error: str | None = None


class LlamaGuard(Classifier):
    """Any causal guard, read as a tree of the verdicts that it may write."""

    shard_size = 128

    def __init__(self, options: GuardOptions) -> None:
        super().__init__(options)
        self.guard: LoadedGuard = load_guard(options)
        model = self.guard.model
        model.on_device = model.device.type != "cpu"  # and summarized there
        self.explorer = TreeExplorer(
            model,
            verdict_grammar(
                self.guard, options.grammar, ignore_case=options.ignore_case
            ),
            explore_options(options),
            encode=continuation_encoder(self.guard),
            summarize=TorchLogitSummarizer() if model.on_device else summarize_logits,
        )
        self.draft_opener = pick_draft_opener(
            options.draft, self.guard, self.explorer.vocabulary
        )
        # In tokens a prompt: the draft is part of the batch that prefills prompts.
        self.draft_length = self.explorer.enable_draft(self.draft_opener)
        limit = max_prompt_tokens(
            options.max_length,
            self.explorer.max_tokens,
            model.network.config,
            windows=model.tree_layout == "tree",
        )
        self.prompt_builder = PromptBuilder(
            self.guard.prompt_format, self.guard.encoder, limit, options.truncation
        )
        default = default_batch_tokens(model.device.type)
        self.batch_tokens = options.batch_tokens or default
        self.batcher = Batcher(self.batch_tokens)

    @property
    def label(self) -> str:
        """The model's name for tables."""
        return self.guard.label

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return what "auto" became, and a hash of the prompt's template."""
        network = self.guard.model.network
        opener = self.draft_opener if self.draft_length else None
        return {
            "device": self.guard.model.device.type,
            "dtype": str(network.dtype).removeprefix("torch."),
            "attention": network.config._attn_implementation,  # noqa: SLF001 - no other way
            "layout": self.guard.model.tree_layout,
            "draft": draft_option_value(opener),
            "format": self.guard.prompt_format.name,
            "template": self.template_hash,
            "max_length": self.prompt_builder.limit,
            "max_new_tokens": self.explorer.max_tokens,
        }

    @property
    def template_hash(self) -> str:
        """SHA-256 over the token ids of two whole prompts: for a user, an assistant.

        It distinguishes evidence of templates that differ in any token, whatever file
        or option they come from.
        """
        prompts = []
        for role in ("user", "assistant"):
            with suppress(PromptError):  # a template may take one role alone
                prompts.append((role, self.prompt_builder.probe_prompt(role).ids))
        return hashlib.sha256(repr(prompts).encode()).hexdigest()

    @property
    def state(self) -> Mapping[str, Any]:
        """Return the token budget if it shrank, as it does when memory runs out."""
        return self.batcher.state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue with the budget at which an interrupted run had arrived."""
        self.batcher.restore(state)

    def record(
        self,
        samples: Sequence[Sample],
        kinds: frozenset[type[Evidence]],
        on_progress: Callable[[int], None],
    ) -> Recording:
        """Return the verdict tree of every sample, in their order."""
        prompts = [self.prompt_builder.build(sample) for sample in samples]
        # Passes of one row a node follow the budget, which may have shrunk.
        self.guard.model.tokens_per_pass = self.batcher.budget
        if kinds == {SeedTree}:
            return record_original_search(
                self._original_search(), prompts, self.batcher, on_progress
            )
        assert kinds == {VerdictTree}, f"llamaguard records no {kinds}"
        on_progress(sum(not sample_prompts.prompts for sample_prompts in prompts))
        trees, explored = self._explore_prompts(prompts, on_progress)
        # The last row stands for every sample that has no prompt.
        tree = VerdictTree.concat([*trees, placeholder_trees(1, self.explorer)])
        tree.meta |= self.explorer.meta | {"policy": self.guard.policy.id}
        placeholder = len(tree) - 1
        rows, traces, start = [], [], 0
        for sample, sample_prompts in zip(samples, prompts, strict=True):
            windows = explored[start : start + len(sample_prompts.prompts)]
            start += len(windows)
            worst = pick_worst_window(tree, [w.row for w in windows], sample.task)
            traces.append(_trace(sample_prompts, windows, worst))
            rows.append(windows[worst].row if windows else placeholder)
        return Recording(evidence={VerdictTree: tree.select(rows)}, traces=traces)

    def _original_search(self) -> OriginalSearch:
        options = self.options
        return OriginalSearch(
            self.guard.model,
            self.explorer.vocabulary,
            OriginalSearchOptions(
                top_p=options.original_top_p,
                eps=options.original_eps,
                max_new_tokens=options.original_max_new_tokens,
            ),
        )

    def _explore_prompts(
        self,
        samples: Sequence[SamplePrompts],
        on_progress: Callable[[int], None],
    ) -> tuple[list[VerdictTree], list[ExploredPrompt]]:
        """Explore all prompts batch by batch; results are in the prompts' order.

        Progress counts samples: one is done when the last of its windows is.
        """
        owners = [i for i, sample in enumerate(samples) for _ in sample.prompts]
        prompts = [prompt.ids for sample in samples for prompt in sample.prompts]
        trees: list[VerdictTree] = []
        explored: dict[int, ExploredPrompt] = {}
        pending = Counter(owners)  # prompts that each sample still waits for
        row, since = 0, time.perf_counter()
        for batch, result in self._explored_batches(prompts):
            trees.append(result.tree if result else placeholder_trees(1, self.explorer))
            seconds = (time.perf_counter() - since) / len(batch)
            for offset, index in enumerate(batch):
                explored[index] = _explored_prompt(
                    result, offset, row + offset, seconds
                )
            row, since = row + len(batch), time.perf_counter()
            pending.subtract(owners[i] for i in batch)
            on_progress(sum(not pending[owner] for owner in {owners[i] for i in batch}))
        return trees, [explored[i] for i in range(len(prompts))]

    def _explored_batches(
        self, prompts: Sequence[Sequence[int]]
    ) -> Iterator[tuple[list[int], Exploration | None]]:
        """Yield batches of indices with their trees, None where memory ran out.

        With the option `refill` the whole shard is one batch, which admits prompts as
        others finish.
        """
        lengths = [len(prompt) + self.draft_length for prompt in prompts]
        options, model = self.options, self.guard.model

        def explore(batch: list[int], budget: int | None = None) -> Exploration:
            model.tokens_per_pass = self.batcher.budget
            return self.explorer.explore([prompts[i] for i in batch], budget)

        if options.refill == "on" and prompts and not options.mc_samples:
            # Not with samples of verdicts, which need all prompts at once.
            whole_shard = self.batcher.run_at_once(
                lengths, lambda order: explore(order, self.batcher.budget)
            )
            if whole_shard:
                yield whole_shard
                return
        yield from self.batcher.run(lengths, explore)

    def token_bytes(self, tokens: Sequence[int]) -> list[bytes]:
        """Return the bytes of each token, of special ones their name."""
        token_bytes = self.guard.model.token_bytes
        names = self.guard.tokenizer.convert_ids_to_tokens(list(tokens))
        return [
            token_bytes[token] or (name or "").encode()
            for token, name in zip(tokens, names, strict=True)
        ]

    def close(self) -> None:
        """Free the model."""
        for name in ("explorer", "guard", "prompt_builder"):
            vars(self).pop(name, None)


def _explored_prompt(
    exploration: Exploration | None, offset: int, row: int, seconds: float
) -> ExploredPrompt:
    if exploration is None:
        return ExploredPrompt(
            row, seconds, error="out of memory, even alone in its batch"
        )
    stats = exploration.stats[offset]
    return ExploredPrompt(
        row, seconds, stats.forward_passes, stats.tokens, stats.raw, stats.error
    )


def _trace(
    sample: SamplePrompts, windows: Sequence[ExploredPrompt], worst: int
) -> Trace:
    """Sum up the prompts of a sample; text and truncation are those of the worst."""
    if not windows:
        return Trace(error=sample.error)
    prompt = sample.prompts[worst]
    return Trace(
        tokens_in=sum(len(p.ids) for p in sample.prompts),
        tokens_out=sum(window.tokens for window in windows),
        tokens_dropped=prompt.tokens_dropped,
        dropped_side=prompt.dropped_side,
        windows=len(windows),
        forward_passes=sum(window.forward_passes for window in windows),
        seconds=sum(window.seconds for window in windows),
        raw=windows[worst].raw,
        error=next((window.error for window in windows if window.error), None),
    )


def explore_options(options: GuardOptions) -> ExploreOptions:
    """Return how far trees are expanded, and what is sampled from the rest."""
    return ExploreOptions(
        eps=options.eps,
        max_nodes=options.max_nodes,
        stopping_rule=_stopping_rule(options),
        max_tokens=options.max_new_tokens or None,
        mc_samples=options.mc_samples,
        mc_seed=options.mc_seed,
    )


def _stopping_rule(options: GuardOptions) -> StoppingRule | None:
    """Return the best-first rule of the option `stop`; None is ``eps``."""
    if options.stop == "gap":
        return GapStop(width=options.width, delta=options.delta)
    if options.stop == "certify":
        return DecisionStop(width=options.width, tau=options.tau)
    return StoppingRule(width=options.width) if options.stop == "max_nodes" else None


def pick_worst_window(tree: VerdictTree, rows: Sequence[int], task: str) -> int:
    """Return which of a sample's rows is the likeliest to be positive.

    Rows that cannot be scored lose; ties go to the first.
    """
    if len(rows) < 2:  # noqa: PLR2004 - nothing to choose from
        return 0
    evidence = EvidenceBundle({type(tree): tree.select(rows)})
    score = marginal_any(evidence, Context(task=task)).score
    assert score is not None
    return int(np.argmax(np.nan_to_num(score, nan=-1.0)))


def placeholder_trees(count: int, explorer: TreeExplorer) -> VerdictTree:
    """Return `count` trees of a root alone, which stand for samples that failed."""
    sampled = explorer.options.mc_samples > 0
    arrays, offsets = {}, {"N": np.arange(count + 1)}
    for name, (_, dims) in VerdictTree.SCHEMA.items():
        if name in VerdictTree.OPTIONAL and not sampled:
            continue
        shape = (0, explorer.top_k) if "," in dims else 0
        arrays[name] = np.zeros(count if dims == "N" else shape)
        offsets.setdefault(dims[0], np.zeros(count + 1, dtype=np.int64))
    for name in ("parent", "token", "level", "label"):
        arrays[name] = np.full(count, -1)
    return VerdictTree(arrays, offsets=offsets, meta=explorer.meta)
