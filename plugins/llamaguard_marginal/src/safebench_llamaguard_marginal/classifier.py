"""The classifier `llamaguard`: samples in, verdict trees and their traces out."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safebench.classifiers import Classifier, Recording, Trace
from safebench.engine.digest import digest
from safebench.engine.explore import Exploration, Explorer
from safebench.evidence import SeedTree, VerdictTree

from .asking import Asker, pick_window
from .batching import Batcher
from .compat.recording import record_searches
from .compat.search import SearchOptions, SeedSearch
from .depth import explore_options
from .drafting import pick_draft, spelled
from .limits import prompt_limit
from .loading import Guard, load_guard
from .prompts import PromptError
from .torch_digest import TorchDigester
from .verdicts import bare_trees, speller, verdict_grammar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from safebench.evidence import Evidence
    from safebench.records import Sample

    from .asking import Asked
    from .options import GuardOptions

_BATCH_TOKENS = {"cpu": 8192}
_BATCH_TOKENS_ELSEWHERE = 65536


@dataclass(frozen=True, slots=True)
class Reading:
    """One prompt's tree, by its row among all, and what it took."""

    row: int
    seconds: float = 0.0
    forward_passes: float = 0.0
    tokens: int = 0
    raw: str | None = None
    error: str | None = None


class LlamaGuard(Classifier):
    """Any causal guard, read as a tree of the verdicts that it could write."""

    shard_size = 128

    def __init__(self, options: GuardOptions) -> None:
        super().__init__(options)
        self.guard: Guard = load_guard(options)
        model = self.guard.model
        model.on_device = model.device.type != "cpu"  # logits are digested there
        self.explorer = Explorer(
            model,
            verdict_grammar(self.guard, options.grammar),
            explore_options(options),
            spell=speller(self.guard),
            digester=TorchDigester() if model.on_device else digest,
        )
        self.draft = pick_draft(options.draft, self.guard, self.explorer.vocabulary)
        self.drafted = self.explorer.draft_after(self.draft)  # tokens a prompt
        limit = prompt_limit(
            options.max_length,
            self.explorer.budget,
            model.network.config,
            windows=model.layout == "tree",
        )
        self.asker = Asker(
            self.guard.layout, self.guard.encoder, limit, options.truncation
        )
        fallback = _BATCH_TOKENS.get(model.device.type, _BATCH_TOKENS_ELSEWHERE)
        self.batch_tokens = options.batch_tokens or fallback
        self.batcher = Batcher(self.batch_tokens)

    @property
    def label(self) -> str:
        """The model's name for tables."""
        return self.guard.label

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return what "auto" came to, and a hash of the prompt around the texts."""
        network = self.guard.model.network
        return {
            "device": self.guard.model.device.type,
            "dtype": str(network.dtype).removeprefix("torch."),
            "attention": network.config._attn_implementation,  # noqa: SLF001 - no other way
            "layout": self.guard.model.layout,
            "draft": spelled(self.draft) if self.drafted else "off",
            "format": self.guard.layout.name,
            "template": self.template_hash,
            "max_length": self.asker.limit,
            "max_new_tokens": self.explorer.budget,
        }

    @property
    def template_hash(self) -> str:
        """SHA-256 over the token ids of two whole prompts: for a user, an assistant."""
        prompts = []
        for role in ("user", "assistant"):
            with suppress(PromptError):  # a template may take only one of them
                prompts.append((role, self.asker.probe(role).ids))
        return hashlib.sha256(repr(prompts).encode()).hexdigest()

    @property
    def state(self) -> Mapping[str, Any]:
        """Return the token budget, if memory ran out and it shrank."""
        shrunk = self.batcher.budget < self.batch_tokens
        return {"batch_tokens": self.batcher.budget} if shrunk else {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the budget that an earlier run came to."""
        self.batcher.budget = state["batch_tokens"]

    def record(
        self,
        samples: Sequence[Sample],
        wanted: frozenset[type[Evidence]],
        tick: Callable[[int], None],
    ) -> Recording:
        """Return the verdict tree of every sample, in their order."""
        asked = [self.asker.ask(sample) for sample in samples]
        self.guard.model.row_tokens = self.batcher.budget
        if wanted == {SeedTree}:
            return record_searches(self._seed_search(), asked, self.batcher, tick)
        assert wanted == {VerdictTree}, f"llamaguard records no {wanted}"
        owners = [i for i, one in enumerate(asked) for _ in one.prompts]
        prompts = [prompt.ids for one in asked for prompt in one.prompts]
        tick(sum(not one.prompts for one in asked))
        trees, readings = self._read(prompts, owners, tick)
        meta = self.explorer.meta | {"policy": self.guard.policy.id}
        tree = VerdictTree.concat([*trees, bare_trees(1, self.explorer)])
        tree.meta |= meta
        bare = len(tree) - 1
        rows, traces = [], []
        for sample, one in zip(samples, asked, strict=True):
            mine, readings = readings[: len(one.prompts)], readings[len(one.prompts) :]
            best = pick_window(tree, [r.row for r in mine], sample.task)
            traces.append(_trace(one, mine, best))
            rows.append(mine[best].row if mine else bare)
        return Recording(evidence={VerdictTree: tree.take(rows)}, traces=traces)

    def _seed_search(self) -> SeedSearch:
        options = self.options
        return SeedSearch(
            self.guard.model,
            self.explorer.vocabulary,
            SearchOptions(
                top_p=options.seed_top_p,
                eps=options.seed_eps,
                max_new_tokens=options.seed_max_new_tokens,
            ),
        )

    def _read(
        self,
        prompts: Sequence[Sequence[int]],
        owners: Sequence[int],
        tick: Callable[[int], None],
    ) -> tuple[list[VerdictTree], list[Reading]]:
        """Explore all prompts batch by batch; readings are in the prompts' order."""
        trees: list[VerdictTree] = []
        readings: dict[int, Reading] = {}
        left = Counter(owners)
        at, since = 0, time.perf_counter()
        for batch, found in self._explored(prompts):
            trees.append(found.tree if found else bare_trees(1, self.explorer))
            seconds = (time.perf_counter() - since) / len(batch)
            for offset, index in enumerate(batch):
                readings[index] = _reading(found, offset, at + offset, seconds)
            at, since = at + len(batch), time.perf_counter()
            left.subtract(owners[i] for i in batch)
            tick(sum(not left[owner] for owner in {owners[i] for i in batch}))
        return trees, [readings[i] for i in range(len(prompts))]

    def _explored(
        self, prompts: Sequence[Sequence[int]]
    ) -> Iterator[tuple[list[int], Exploration | None]]:
        """Yield batches of indices with their trees; all at once if batches refill."""
        lengths = [len(prompt) + self.drafted for prompt in prompts]
        options, model = self.options, self.guard.model

        def explore(batch: list[int], budget: int | None = None) -> Exploration:
            model.row_tokens = self.batcher.budget
            return self.explorer.explore([prompts[i] for i in batch], budget)

        if options.refill == "on" and prompts and not options.mc_samples:
            at_once = self.batcher.whole(
                lengths, lambda order: explore(order, self.batcher.budget)
            )
            if at_once:
                yield at_once
                return
        yield from self.batcher.run(lengths, explore)

    def pieces(self, tokens: Sequence[int]) -> list[bytes]:
        """Return the text of each token, of special ones their name."""
        pieces = self.guard.model.pieces
        names = self.guard.tokenizer.convert_ids_to_tokens(list(tokens))
        return [
            pieces[token] or (name or "").encode()
            for token, name in zip(tokens, names, strict=True)
        ]

    def close(self) -> None:
        """Free the model."""
        for name in ("explorer", "guard", "asker"):
            vars(self).pop(name, None)


def _reading(
    found: Exploration | None, offset: int, row: int, seconds: float
) -> Reading:
    if found is None:
        return Reading(row, seconds, error="out of memory, even alone in its batch")
    facts = found.facts[offset]
    return Reading(
        row, seconds, facts.forward_passes, facts.tokens, facts.raw, facts.error
    )


def _trace(asked: Asked, readings: Sequence[Reading], best: int) -> Trace:
    """Sum up the prompts that a sample took; text and cut are those of the worst."""
    if not readings:
        return Trace(error=asked.error)
    chosen = asked.prompts[best]
    return Trace(
        tokens_in=sum(len(prompt.ids) for prompt in asked.prompts),
        tokens_out=sum(reading.tokens for reading in readings),
        tokens_dropped=chosen.dropped,
        dropped_side=chosen.side,
        windows=len(readings),
        forward_passes=sum(reading.forward_passes for reading in readings),
        seconds=sum(reading.seconds for reading in readings),
        raw=readings[best].raw,
        error=next((r.error for r in readings if r.error), None),
    )
