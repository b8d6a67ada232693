"""The classifier `llamaguard`: samples in, verdict trees and their traces out."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.classifiers import Classifier, Recording, Trace
from safebench.errors import OptionError
from safebench.evidence import EvidenceBundle, SeedTree, VerdictTree
from safebench.strategies import Context
from safebench.verdict_tree import SparseExplorer, TreeExplorer
from safebench_llamaguard_marginal.compat.search import (
    OriginalSearch,
    OriginalSearchOptions,
    record_original_search,
)
from safebench_llamaguard_marginal.engines.served_guard import ServedGuard
from safebench_llamaguard_marginal.engines.server_identity import (
    beside_earlier,
    without_server,
)
from safebench_llamaguard_marginal.model.loading import LoadedGuard
from safebench_llamaguard_marginal.model.verdict_grammar import verdict_grammar
from safebench_llamaguard_marginal.profile.answer import one_sided_answer
from safebench_llamaguard_marginal.profile.resolve import (
    resolve_profile,
    with_defaults,
)
from safebench_llamaguard_marginal.prompt.chat_template import (
    PromptError,
    rendered_together,
)
from safebench_llamaguard_marginal.prompt.profile_format import formats_by_criterion
from safebench_llamaguard_marginal.prompt.prompt_builder import (
    PromptBuilder,
    SamplePrompts,
)
from safebench_llamaguard_marginal.prompt.prompt_format import (
    missing_categories_note,
    paraphrase_note,
)
from safebench_llamaguard_marginal.strategies.marginal import marginal_any

from .reasoned_prompts import PromptReasoner, SampleReasonings, with_reasonings
from .runner import open_runner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from safebench.evidence import Evidence
    from safebench.records import Sample
    from safebench.verdict_tree import Exploration

    from .options import GuardOptions

_MIXED_ROLES = (
    "this guard answers in another form where a turn of this role is judged, and most "
    "of the samples beside this one are of the other; judge them in a data set of "
    "their own"
)

_NO_REASONING = (
    "compat=original reads what follows the prompt, and this guard reasons first; "
    "reasoning=off would work where the family has such a form"
)

_ONE_PROMPT = (
    "compat=original reads one prompt, and this guard is asked about each criterion"
)


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

    @rendered_together()
    def __init__(self, options: GuardOptions) -> None:
        options = with_defaults(options, resolve_profile(options))
        super().__init__(options)
        self._earlier: Mapping[str, Any] = {}  # what was stored beside evidence
        self.runner = open_runner(options)
        self.guard: LoadedGuard | ServedGuard = self.runner.guard
        self.explorers = self._explorers_by_role()
        self.explorer = next(iter(self.explorers.values()))
        self.runner.enable_draft(self.explorers.values())
        self.reasoner = self._pick_reasoner()
        if self.reasoner:
            # a reasoning takes minutes where a verdict takes a moment, and a shard is
            # what an interruption costs
            self.shard_size = 32
        limit = self.runner.prompt_limit(
            max(explorer.max_tokens for explorer in self.explorers.values())
            + (self.reasoner.budget if self.reasoner else 0)
        )
        self.prompt_builders = {
            criterion: PromptBuilder(
                prompt_format, self.guard.encoder, limit, options.truncation
            )
            for criterion, prompt_format in formats_by_criterion(
                self.guard.prompt_format
            ).items()
        }
        self.prompt_builder = next(iter(self.prompt_builders.values()))
        notes = (
            *self.guard.notes,
            paraphrase_note(self.guard.prompt_format),
            missing_categories_note(
                self.guard.prompt_format,
                self.guard.policy,
                self.explorer.automaton.grammar.labels,
            ),
            self.reasoner.note if self.reasoner else "",
        )
        self.prompt_notes = [note for note in notes if note]
        self.batcher = self.runner.batcher
        self.batch_tokens = self.batcher.full_budget

    def _pick_reasoner(self) -> PromptReasoner | None:
        if self.guard.profile.reasoning is None:
            return None
        if isinstance(self.guard, ServedGuard):
            raise OptionError(
                f"llamaguard: engine={self.options.runs_on} reads verdicts alone, and "
                f"{self.guard.profile.name} reasons first; engine=hf would work, "
                "logprobs=no at a server, which reads the texts behind reasonings, or "
                "reasoning=off where the family has such a form"
            )
        return PromptReasoner(self.guard, self.options)

    def _explorers_by_role(self) -> dict[str, TreeExplorer]:
        """Return an explorer for each judged role; roles of one answer share theirs."""
        options = self.options
        by_grammar: dict[str, TreeExplorer] = {}
        explorers = {}
        for role in self.guard.profile.answers:
            grammar = verdict_grammar(
                self.guard,
                options.grammar,
                ignore_case=options.ignore_case,
                role=role,
                engine=options.tree_version,
            )
            profile = self.guard.profile
            for task in profile.data.tasks[role]:
                if problem := one_sided_answer(grammar, task):
                    raise OptionError(f"profile {profile.where}: {task}: {problem}")
            key = repr(grammar)
            if key not in by_grammar:
                by_grammar[key] = self.runner.explorer(grammar)
            explorers[role] = by_grammar[key]
        return explorers

    @property
    def label(self) -> str:
        """The model's name for tables."""
        return self.guard.label

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return what "auto" became, and a hash of the prompt's template."""
        return {
            **self.runner.facts,
            "format": self.guard.prompt_format.name,
            "template": self.template_hash,
            "max_length": self.prompt_builder.limit,
            "max_new_tokens": self.explorer.max_tokens,
        }

    @property
    @rendered_together()
    def template_hash(self) -> str:
        """SHA-256 over the token ids of two whole prompts: for a user, an assistant.

        It distinguishes evidence of templates that differ in any token, whatever file
        or option they come from.
        """
        prompts = []
        for builder in self.prompt_builders.values():
            for role in ("user", "assistant"):
                with suppress(PromptError):  # a template may take one role alone
                    prompts.append((role, builder.probe_prompt(role).ids))
        return hashlib.sha256(repr(prompts).encode()).hexdigest()

    @property
    def state(self) -> Mapping[str, Any]:
        """Return the token budget if it shrank, and what a server says of itself.

        It shrinks when memory runs out.
        """
        accepted = dict(self.options.found).get("other_server", "")
        served = beside_earlier(self.runner.state, self._earlier, accepted)
        return {**self.batcher.state, **served}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue with the budget at which an interrupted run had arrived."""
        self._earlier = state
        if own := without_server(state):
            self.batcher.restore(own)

    def record(
        self,
        samples: Sequence[Sample],
        kinds: frozenset[type[Evidence]],
        on_progress: Callable[[int], None],
    ) -> Recording:
        """Return the verdict tree of every sample, in their order."""
        by_sample, explorer = self._prompts(samples)
        records: list[SampleReasonings] = []
        if self.reasoner and kinds == {VerdictTree}:
            self.runner.use_budget()
            by_sample, records = self.reasoner.reason(by_sample, self.batcher)
        prompts = [part for parts in by_sample for part in parts]
        self.runner.use_budget()
        if kinds == {SeedTree}:
            if self.guard.profile.data.ask_each or self.reasoner:
                reason = _NO_REASONING if self.reasoner else _ONE_PROMPT
                prompts = [SamplePrompts([], reason)] * len(samples)
            return record_original_search(
                self._original_search(), prompts, self.batcher, on_progress
            )
        assert kinds == {VerdictTree}, f"llamaguard records no {kinds}"
        on_progress(sum(not parts[0].prompts for parts in by_sample))
        n_parts = len(by_sample[0]) if by_sample else 1
        trees, explored = self._explore_prompts(prompts, explorer, on_progress, n_parts)
        # The last row stands for every sample that has no prompt.
        tree = VerdictTree.concat([*trees, placeholder_trees(1, explorer)])
        tree.meta |= explorer.meta | {"policy": self.guard.policy.id}
        notes = [*dict.fromkeys([*self.prompt_notes, *self.runner.notes])]
        if notes:
            tree.meta["notes"] = notes
        placeholder = len(tree) - 1
        rows, traces, start = [], [], 0
        for sample, parts in zip(samples, by_sample, strict=True):
            part_traces = []
            for sample_prompts in parts:
                windows = explored[start : start + len(sample_prompts.prompts)]
                start += len(windows)
                worst = pick_worst_window(tree, [w.row for w in windows], sample.task)
                part_traces.append(_trace(sample_prompts, windows, worst))
                rows.append(windows[worst].row if windows else placeholder)
            worst = pick_worst_window(tree, rows[-len(parts) :], sample.task)
            traces.append(_joined_trace(part_traces, worst))
        selected = tree.select(rows)
        if self.guard.profile.data.ask_each:
            selected = selected.fold([*self.prompt_builders])
        if self.reasoner:
            sampled = self.reasoner.sampled
            if sampled:
                selected = selected.fold(self.reasoner.questions, rule="mean")
            selected = with_reasonings(selected, records, self.reasoner)
            traces = [
                record.add_cost(trace, sampled=sampled)
                for record, trace in zip(records, traces, strict=True)
            ]
        return Recording(evidence={VerdictTree: selected}, traces=traces)

    @rendered_together()
    def _prompts(
        self, samples: Sequence[Sample]
    ) -> tuple[list[list[SamplePrompts]], TreeExplorer]:
        """Return the prompts of samples, one a criterion, and what reads the answers.

        A shard of trees has one grammar: samples whose answer has another form than
        most have none, and say so.
        """
        builders = self.prompt_builders.values()
        prompts = [
            [builder.build(sample) for builder in builders] for sample in samples
        ]
        unasked = self.runner.converse(samples, prompts)
        explorers = [self._explorer_of(sample) for sample in samples]
        usual = Counter(explorers).most_common(1)[0][0] if samples else self.explorer
        for i, sample in enumerate(samples):
            errors = [part.error for part in prompts[i] if part.error]
            errors += filter(None, [unasked[i]])
            if error := self._unanswered(sample):
                errors.append(error)
            elif explorers[i] is not usual:
                errors.append(_MIXED_ROLES)
            if errors:  # a sample is asked about all criteria, or about none
                prompts[i] = [SamplePrompts([], errors[0])] * len(builders)
        return prompts, usual

    def _explorer_of(self, sample: Sample) -> TreeExplorer:
        return self.explorers.get(_judged_role(sample), self.explorer)

    def _unanswered(self, sample: Sample) -> str | None:
        """Say why the guard does not answer a sample's task, None if it does."""
        by_role, role = self.guard.profile.data.tasks, _judged_role(sample)
        if role not in by_role or sample.task in by_role[role]:
            return None
        roles = [r for r, tasks in by_role.items() if sample.task in tasks]
        return (
            f"{self.guard.profile.name} answers {sample.task} where a turn of the "
            f"{' or '.join(roles)} is judged, and the judged one is the {role}'s"
        )

    def _original_search(self) -> OriginalSearch:
        options = self.options
        assert isinstance(self.guard, LoadedGuard), "refused by its capabilities"
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
        explorer: TreeExplorer,
        on_progress: Callable[[int], None],
        n_parts: int,
    ) -> tuple[list[VerdictTree], list[ExploredPrompt]]:
        """Explore all prompts batch by batch; results are in the prompts' order.

        Progress counts samples: one is done when the last window of its `n_parts`
        prompts is.
        """
        owners = [i // n_parts for i, part in enumerate(samples) for _ in part.prompts]
        prompts = [prompt.ids for sample in samples for prompt in sample.prompts]
        trees: list[VerdictTree] = []
        explored: dict[int, ExploredPrompt] = {}
        pending = Counter(owners)  # prompts that each sample still waits for
        row, since = 0, time.perf_counter()
        for batch, result in self._explored_batches(prompts, explorer):
            trees.append(result.tree if result else placeholder_trees(1, explorer))
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
        self, prompts: Sequence[Sequence[int]], explorer: TreeExplorer
    ) -> Iterator[tuple[list[int], Exploration | None]]:
        """Yield batches of indices with their trees, None where memory ran out.

        With the option `refill` the whole shard is one batch, which admits prompts as
        others finish.
        """
        lengths = [len(prompt) + self.runner.draft_length for prompt in prompts]
        options = self.options

        def explore(batch: list[int], budget: int | None = None) -> Exploration:
            self.runner.use_budget()
            return explorer.explore([prompts[i] for i in batch], budget)

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
        if "runner" in vars(self):
            self.runner.close()
        for name in (
            "runner",
            "explorer",
            "explorers",
            "guard",
            "prompt_builder",
            "prompt_builders",
        ):
            vars(self).pop(name, None)


def _judged_role(sample: Sample) -> str:
    """Return the role of the judged turn; "" where there is no such turn."""
    turns = sample.turns
    within = -len(turns) <= sample.target < len(turns)
    return turns[sample.target].role if within else ""


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


def _joined_trace(traces: Sequence[Trace], worst: int) -> Trace:
    """Sum up the prompts about all criteria; text and truncation are the worst's."""
    if len(traces) == 1:
        return traces[0]
    return replace(
        traces[worst],
        tokens_in=sum(trace.tokens_in for trace in traces),
        tokens_out=sum(trace.tokens_out for trace in traces),
        windows=sum(trace.windows for trace in traces),
        forward_passes=sum(trace.forward_passes for trace in traces),
        seconds=sum(trace.seconds for trace in traces),
        error=next((trace.error for trace in traces if trace.error), None),
    )


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
    listed = isinstance(explorer, SparseExplorer)
    kept = set(VerdictTree.OF_LISTED if listed else VerdictTree.OF_LOGITS)
    if explorer.options.mc_samples:
        kept |= {name for name in VerdictTree.OPTIONAL if name.startswith("mc_")}
    arrays, offsets = {}, {"N": np.arange(count + 1)}
    for name, (_, dims) in VerdictTree.SCHEMA.items():
        if name in VerdictTree.OPTIONAL and name not in kept:
            continue
        shape = (0, explorer.top_k) if "," in dims else 0
        arrays[name] = np.zeros(count if dims == "N" else shape)
        offsets.setdefault(dims[0], np.zeros(count + 1, dtype=np.int64))
    for name in ("parent", "token", "level", "label"):
        arrays[name] = np.full(count, -1)
    return VerdictTree(arrays, offsets=offsets, meta=explorer.meta)
