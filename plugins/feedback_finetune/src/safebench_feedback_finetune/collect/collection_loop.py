"""`feedback collect`: input guard, language model, output guard, one record each.

Prompts are processed in chunks. A finished chunk is appended to the folder; a chunk
that was interrupted is processed again as a whole, so that its scores come from the
same batches as without the interruption, and only records that are missing are added.
The processes of a launched group take turns with chunks, so that what comes of them is
what one process would have got.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from safebench import echo, lock_folder
from safebench.errors import DataError
from safebench.training import ProgressBar, is_main_process
from safebench_feedback_finetune.guard_loading import (
    guard_identity,
    load_verdict_scorer,
)
from safebench_feedback_finetune.options import REPLAY
from safebench_feedback_finetune.process_group import (
    gather,
    group_rank,
    group_size,
    share,
)
from safebench_llamaguard_marginal import fingerprint, locate_model

from .collection_folder import (
    COLLECTED_FILE,
    CollectionFolder,
    CollectionRecord,
    stored_manifest,
)
from .collection_input import read_collection_input
from .exchanges import ChunkCollector, ChunkResult, record_keys
from .judge_quality import judge_quality, quality_text
from .judge_rows import JudgeRows, read_judge_rows, seen_note, trained_on_facts
from .output_guard import OutputGuard
from .summary import collection_counts, summary_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from safebench import Plugins
    from safebench_feedback_finetune.options import CollectOptions

    from .collection_input import CollectionInput, CollectionItem
    from .generator import ResponseGenerator

    Say = Callable[[str], None]


def run(options: CollectOptions, plugins: Plugins, say: Say) -> int:
    """Collect into a folder, print a summary, and return the exit code.

    In a launched group each process asks its share of the prompts, and the main one
    does the rest. Raises SafebenchError before any model is loaded if the data or the
    folder cannot be used, or if another process is writing to the folder.
    """
    if not is_main_process():
        take_part(options, plugins, say)
        return 0
    collection_input = read_collection_input(options, plugins, say)
    judge = None
    if options.output_guard:
        judge = CollectionJudge.resolve(options, plugins, say)
    identity = {
        "guard": guard_identity(options, options.adapter),
        "threshold": options.threshold,
        "generator": _generator_identity(options),
    }
    if judge:
        identity["judge"] = judge.guard.identity()
    path = Path(options.out).expanduser()
    # Checked before the lock as well: taking it would create the folder.
    stored_manifest(path, identity)
    with lock_folder(path):
        folder = CollectionFolder(path, identity)
        return _collect(options, collection_input, folder, judge, say)


def take_part(options: CollectOptions, plugins: Plugins, say: Say) -> None:
    """Ask a share of the chunks that the main process of a group hands out."""
    identity = share(None)
    judge = OutputGuard(options, plugins, say) if options.output_guard else None
    judge_facts = share(None)
    if judge:
        judge.load(judge_facts)
    try:
        generator = _load_generator(options)
        scorer = load_verdict_scorer(options, options.adapter)
        collector = ChunkCollector(options, scorer, generator, judge, identity)
        for _ in shared_chunks(collector, share(None)):
            pass  # the main process keeps what came of it
    finally:
        if judge:
            judge.judge.close()


def _collect(
    options: CollectOptions,
    collection_input: CollectionInput,
    folder: CollectionFolder,
    judge: CollectionJudge | None,
    say: Say,
) -> int:
    facts: dict[str, Any] = {}
    share(folder.identity)
    if judge:
        others = "the guard" if options.generator == REPLAY else "generator and guard"
        say(f"loading the judge, then {others}; each stays in memory until the end")
        facts["judge"] = judge.load(folder.manifest.get("judge"))
    share(facts.get("judge"))  # so that one map to probabilities serves all
    generator = _load_generator(options)
    scorer = load_verdict_scorer(options, options.adapter)
    folder.write_manifest(
        "collecting",
        **facts,
        sources=_merge_sources(
            folder.manifest.get("sources", []), collection_input.sources
        ),
        guard=scorer.label,
        opener=list(scorer.verdict_prefix),
        verdict_ids=list(scorer.verdict_ids),
    )
    guard = judge.guard if judge else None
    collector = ChunkCollector(options, scorer, generator, guard, folder.identity)
    loop = CollectionLoop(collector, folder)
    try:
        loop.run(collection_input.items)
    # What was collected so far is whole, and of use by itself.
    except KeyboardInterrupt:
        folder.write_manifest("interrupted", counts=collection_counts(folder.records))
        raise
    finally:
        if judge:  # the stages that follow in `full` need its memory
            judge.guard.judge.close()
    counts = collection_counts(folder.records)
    seen: list[str] = []
    if judge:
        facts["judge"] |= judge.independence(folder.records)
        seen = facts["judge"]["seen"]
    quality = judge_quality(folder.records, seen)
    if judge:
        facts["judge"]["quality"] = quality
    folder.write_manifest("done", counts=counts, left_out=len(folder.left_out), **facts)
    echo(summary_text(counts))
    for line in quality_text(judge.guard.label if judge else scorer.label, quality):
        say(line)
    if folder.left_out:
        say(f"{len(folder.left_out)} could not be asked: see left_out.jsonl")
    echo(f"collected: {folder.path}")
    return 0


@dataclass(slots=True)
class CollectionJudge:
    """The output guard of a collection, and what is known of what it learnt from."""

    guard: OutputGuard
    rows: JudgeRows
    say: Say

    @classmethod
    def resolve(cls, options: CollectOptions, plugins: Plugins, say: Say) -> Self:
        """Look the judge up and read what it learnt from, before a model is loaded."""
        guard = OutputGuard(options, plugins, say)
        return cls(guard, read_judge_rows(guard, options, plugins, say), say)

    def load(self, stored: dict[str, Any] | None) -> dict[str, Any]:
        """Load it; return what the manifest keeps beside its identity."""
        return self.guard.load(stored)

    def independence(self, records: Sequence[CollectionRecord]) -> dict[str, Any]:
        """Return what it learnt from, and the collected prompts that are like that."""
        prompts = {r.prompt_id: (r.prompt_id, r.prompt, r.group) for r in records}
        seen = self.rows.seen(prompts.values())
        if note := seen_note(len(seen), self.rows):
            self.say(note)
        return trained_on_facts(self.rows, seen)


def _merge_sources(
    before: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the datasets of all commands so far; the later reading of one counts."""
    return list({source["name"]: source for source in (*before, *now)}.values())


def _load_generator(options: CollectOptions) -> ResponseGenerator | None:
    """Return the language model, or None where responses are replayed."""
    if options.generator == REPLAY:
        return None
    from .generator import ResponseGenerator

    return ResponseGenerator(options)


def _generator_identity(options: CollectOptions) -> dict[str, Any]:
    """Return what distinguishes two language models and their sampling, unloaded."""
    if options.generator == REPLAY:
        return {"model": REPLAY}
    location = locate_model(options.generator)
    names = ("max_new_tokens", "temperature", "top_p", "seed")
    return {
        "model": location.label,
        "weights": fingerprint(location),
        **{name: getattr(options, name) for name in names},
    }


class CollectionLoop:
    """Sends prompts through guard, language model and guard, chunk by chunk."""

    def __init__(self, collector: ChunkCollector, folder: CollectionFolder) -> None:
        self.collector = collector
        self.folder = folder
        self._check_stored_records()

    def _check_stored_records(self) -> None:
        """Raise DataError for records of another guard, judge or language model.

        Lines that were lost are collected again, and those that were changed do not
        have their checksum; but a whole file may be that of another collection.
        """
        ours = self.collector
        labels = (ours.guard_label, ours.generator_label, ours.judge_label)
        for record in self.folder.records:
            if (
                (record.guard, record.generator, record.judge) != labels
                or record.passed != (record.p_in < ours.options.threshold)
                or record.blocked != ours.blocks(record.p_out)
            ):
                raise DataError(
                    f"{self.folder.path / COLLECTED_FILE} holds records of another "
                    f"collection ({record.guard}, {record.generator}): collect again "
                    "into a new folder"
                )

    def run(self, items: Sequence[CollectionItem]) -> None:
        """Process all chunks that are not in the folder yet, with a progress bar."""
        done, answers = self.folder.processed_keys, self.collector.options.answers
        # Chunks are cut before finished ones are dropped: their borders, and with them
        # the batches, must not depend on how far an earlier run came.
        open_chunks = [
            chunk
            for chunk in self._chunks(items)
            if not all(
                key in done for item in chunk for key in record_keys(item, answers)
            )
        ]
        n_done = len(items) - sum(map(len, open_chunks))
        bar = ProgressBar("collect", len(items), "prompts").start(n_done)

        try:
            for n_prompts, results in shared_chunks(self.collector, share(open_chunks)):
                for result in results:
                    new = result.without(done)
                    self.folder.append(new.records, new.left_out)
                bar.move(n_prompts)
        finally:
            bar.end()

    def _chunks(
        self, items: Sequence[CollectionItem]
    ) -> Iterator[list[CollectionItem]]:
        size = self.collector.options.save_every
        for start in range(0, len(items), size):
            yield list(items[start : start + size])


def shared_chunks(
    collector: ChunkCollector, chunks: Sequence[list[CollectionItem]]
) -> Iterator[tuple[int, list[ChunkResult]]]:
    """Yield how many prompts were asked, and what came of them, in their order.

    Each process of a group takes one chunk of each round. Which one asks a chunk
    changes nothing: its batches are the same. What was yielded can be kept.
    """
    size, rank = group_size(), group_rank()
    with collector.scorer.reuse_shared_prefix():
        for start in range(0, len(chunks), size):
            turn = chunks[start : start + size]
            own = collector.collect(turn[rank]) if rank < len(turn) else ChunkResult()
            yield sum(map(len, turn)), gather(own)[: len(turn)]
