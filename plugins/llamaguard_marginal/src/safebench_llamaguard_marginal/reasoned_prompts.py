"""Prompts with a reasoning behind them, after which a verdict is read as a tree."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import OptionError
from safebench.evidence import VerdictTree
from safebench_llamaguard_marginal.model.reasoning import (
    MarkerFinder,
    Reasoning,
    ReasoningWriter,
    id_units,
    marker_units,
)
from safebench_llamaguard_marginal.prompt.prompt_builder import SamplePrompts

from .options import sampled_reasonings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.classifiers import Trace
    from safebench.torch_utils import Batcher
    from safebench_llamaguard_marginal.model.loading import LoadedGuard
    from safebench_llamaguard_marginal.prompt.tokenization import TruncatedPrompt

    from .options import GuardOptions

_NO_MEMORY = "out of memory while it reasoned, even alone in its batch"


@dataclass(frozen=True, slots=True)
class SampleReasonings:
    """The reasonings about one sample, and what they cost.

    `prompt_tokens` are those of its prompts without any reasoning.
    """

    reasonings: tuple[Reasoning, ...] = ()
    prompt_tokens: int = 0
    seconds: float = 0.0

    def add_cost(self, trace: Trace, *, sampled: bool) -> Trace:
        """Return a sample's trace with the reasonings in its costs.

        The prompt is read once, and what was reasoned counts as written.
        """
        if not self.reasonings:
            return trace
        written = sum(len(r.tokens) for r in self.reasonings)
        return replace(
            trace,
            tokens_in=self.prompt_tokens,
            tokens_out=trace.tokens_out + written,
            windows=1 if sampled else trace.windows,
            seconds=trace.seconds + self.seconds,
            forward_passes=trace.forward_passes
            + sum(r.forward_passes for r in self.reasonings),
        )


class PromptReasoner:
    """Lets a guard reason about prompts, greedily or `count` times at random."""

    def __init__(self, guard: LoadedGuard, options: GuardOptions) -> None:
        after = guard.profile.reasoning
        assert after is not None, f"{guard.profile.name} does not reason"
        sampled = sampled_reasonings(options.reasoning)
        if sampled and guard.profile.data.ask_each:
            raise OptionError(
                f"llamaguard: profile {guard.profile.name} asks about each criterion "
                f"by itself, which does not go with reasoning={sampled}; "
                "reasoning=greedy would work"
            )
        self.sampled = bool(sampled)
        self.count = sampled or 1
        self.budget = options.reasoning_tokens or after.budget
        model, tokens = guard.model, guard.model.token_bytes
        controls = guard.encoder.control_tokens
        markers = [marker_units(text, controls, tokens) for text in after.marker]
        if after.marker_ids:
            markers.append(id_units(after.marker_ids, tokens))
        self._writer = ReasoningWriter(
            network=model,
            finder=MarkerFinder(markers, tokens),
            eos=model.eos,
            budget=self.budget,
            count=self.count,
            temperature=options.reasoning_temperature if sampled else None,
            seed=options.reasoning_seed,
        )

    @property
    def meta(self) -> dict[str, Any]:
        """What evidence says of its reasonings."""
        writer = self._writer
        if writer.temperature is None:
            return {"mode": "greedy", "budget": self.budget}
        return {
            "mode": "sampled",
            "count": self.count,
            "temperature": writer.temperature,
            "seed": writer.seed,
            "budget": self.budget,
        }

    @property
    def note(self) -> str:
        """What stands below numbers from this evidence."""
        if not self.sampled:
            return f"read after one greedy reasoning of at most {self.budget} tokens"
        return (
            f"the mean over {self.count} sampled reasoning{'s' * (self.count > 1)} "
            f"(temperature {self._writer.temperature:g}, at most {self.budget} tokens)"
        )

    def write(self, prompts: Sequence[Sequence[int]]) -> list[list[Reasoning]]:
        """Return the reasonings about each of some prompts, given as token ids."""
        return self._writer.write(prompts)

    @property
    def questions(self) -> list[str]:
        """The names of the trees of one sample, where it has several."""
        return [f"reasoning {number}" for number in range(1, self.count + 1)]

    def reason(
        self, samples: Sequence[Sequence[SamplePrompts]], batcher: Batcher
    ) -> tuple[list[list[SamplePrompts]], list[SampleReasonings]]:
        """Return the prompts with their reasonings, and what those were.

        `samples` are the prompts of each sample: one part a criterion, each of one or
        several windows. Greedily, each has one reasoning; a sampled part becomes
        `count` parts. A sample of which one reasoning has no end has no prompt.
        """
        owners = [
            i for i, parts in enumerate(samples) for part in parts for _ in part.prompts
        ]
        prompts = [
            prompt for parts in samples for part in parts for prompt in part.prompts
        ]
        written: list[list[Reasoning] | None] = [None] * len(prompts)
        seconds = [0.0] * len(samples)
        since = time.perf_counter()
        for batch, result in batcher.run(self._lengths(prompts), self._work(prompts)):
            for index, reasonings in zip(batch, result or [], strict=False):
                written[index] = reasonings
            now = time.perf_counter()
            for index in batch:
                seconds[owners[index]] += (now - since) / len(batch)
            since = now
        queue = iter(written)
        extended, records = [], []
        for i, parts in enumerate(samples):
            own = [[next(queue) for _ in part.prompts] for part in parts]
            extended.append(self._extended(parts, own))
            records.append(
                SampleReasonings(
                    tuple(r for part in own for rs in part for r in rs or ()),
                    sum(len(p.ids) for part in parts for p in part.prompts),
                    seconds[i],
                )
            )
        return extended, records

    def _lengths(self, prompts: Sequence[TruncatedPrompt]) -> list[int]:
        return [self.count * (len(prompt.ids) + self.budget) for prompt in prompts]

    def _work(self, prompts: Sequence[TruncatedPrompt]) -> Any:
        return lambda batch: self._writer.write([prompts[i].ids for i in batch])

    def _extended(
        self,
        parts: Sequence[SamplePrompts],
        written: Sequence[Sequence[list[Reasoning] | None]],
    ) -> list[SamplePrompts]:
        width = len(parts) * self.count
        everything = [rs for part in written for rs in part]
        error = next((part.error for part in parts if part.error), None)
        if not error and any(rs is None for rs in everything):
            error = _NO_MEMORY
        error = error or self.unended([r for rs in everything for r in rs or ()])
        if error:
            return [SamplePrompts([], error)] * width
        return [
            SamplePrompts(
                [
                    replace(prompt, ids=(*prompt.ids, *(rs or [])[number].tokens))
                    for prompt, rs in zip(part.prompts, own, strict=True)
                ]
            )
            for part, own in zip(parts, written, strict=True)
            for number in range(self.count)
        ]

    def unended(self, reasonings: Sequence[Reasoning]) -> str | None:
        """Say why no verdict can be read after one of them; None if it can."""
        failed = [r for r in reasonings if not r.ended]
        if not failed:
            return None
        count = Counter(r.end for r in failed)
        many = len(reasonings) > 1
        who = (
            f"{len(failed)} of {len(reasonings)} reasonings"
            if many
            else "the reasoning"
        )
        verb = "do" if len(failed) > 1 else "does"
        if count["budget"]:
            return (
                f"{who} {verb} not end within {self.budget} tokens; "
                f"reasoning_tokens={2 * self.budget} would give more room"
            )
        if count["eos"]:
            return f"{who} {verb} not come to the marker: the answer ends before it"
        return f"{who} {verb} not end where a token does: it holds part of the verdict"


def with_reasonings(
    tree: VerdictTree, records: Sequence[SampleReasonings], reasoner: PromptReasoner
) -> VerdictTree:
    """Return trees with the length of each reasoning, and whether it ended."""
    written = [record.reasonings for record in records]
    ends = np.cumsum([0, *(len(reasonings) for reasonings in written)])
    flat = [r for reasonings in written for r in reasonings]
    return VerdictTree(
        {
            **tree.arrays,
            "reasoning_tokens": np.array([len(r.tokens) for r in flat], dtype=np.int64),
            "reasoning_ended": np.array([r.ended for r in flat], dtype=bool),
        },
        offsets={**tree.offsets, "Y": ends},
        meta={**tree.meta, "reasoning": reasoner.meta},
        size=len(tree),
    )
