"""`feedback collect`: input guard, language model, output guard, one record each.

Prompts are processed in chunks. A finished chunk is appended to the folder; a chunk
that was interrupted is processed again as a whole, so that its scores come from the
same batches as without the interruption, and only records that are missing are added.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from safebench import echo, lock_folder
from safebench.errors import DataError
from safebench.records import Turn
from safebench.training import ProgressBar
from safebench_feedback_finetune.guard_loading import (
    guard_identity,
    label_with_revision,
    load_verdict_scorer,
)
from safebench_feedback_finetune.options import REPLAY
from safebench_feedback_finetune.scorer import p_unsafe
from safebench_llamaguard_marginal import PromptError, fingerprint, locate_model

from .collection_folder import (
    COLLECTED_FILE,
    CollectionFolder,
    CollectionRecord,
    stored_manifest,
)
from .collection_input import majority_vote, read_collection_input
from .judge_quality import judge_quality, quality_text
from .judge_rows import JudgeRows, read_judge_rows, seen_note, trained_on_facts
from .output_guard import OutputGuard
from .predicted_categories import predict_categories
from .summary import collection_counts, summary_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from safebench import Plugins
    from safebench_feedback_finetune.options import CollectOptions
    from safebench_feedback_finetune.scorer import VerdictScorer

    from .collection_input import CollectionInput, CollectionItem
    from .generator import ResponseGenerator

    Ids = tuple[int, ...]
    Key = tuple[str, str]
    Say = Callable[[str], None]


def run(options: CollectOptions, plugins: Plugins, say: Say) -> int:
    """Collect into a folder, print a summary, and return the exit code.

    Raises SafebenchError before any model is loaded if the data or the folder cannot be
    used, or if another process is writing to the folder.
    """
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


def _collect(
    options: CollectOptions,
    collection_input: CollectionInput,
    folder: CollectionFolder,
    judge: CollectionJudge | None,
    say: Say,
) -> int:
    facts: dict[str, Any] = {}
    if judge:
        others = "the guard" if options.generator == REPLAY else "generator and guard"
        say(f"loading the judge, then {others}; each stays in memory until the end")
        facts["judge"] = judge.load(folder.manifest.get("judge"))
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
    loop = CollectionLoop(options, scorer, generator, folder, guard)
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


@dataclass(slots=True)
class Exchange:
    """A prompt with one response on its way through the guards.

    `prompt_tokens` is the guard's input about the prompt alone, `conversation_tokens`
    that about prompt and response, None if there is no response to judge.
    """

    item: CollectionItem
    response_id: str
    response: str | None
    p_in: float
    prompt_tokens: Ids
    conversation_tokens: Ids | None = None
    p_out: float | None = None
    categories: tuple[str, ...] = ()


class CollectionLoop:
    """Sends prompts through guard, language model and guard, chunk by chunk."""

    def __init__(
        self,
        options: CollectOptions,
        scorer: VerdictScorer,
        generator: ResponseGenerator | None,
        folder: CollectionFolder,
        judge: OutputGuard | None = None,
    ) -> None:
        self.options = options
        self.scorer = scorer
        self.generator = generator
        self.folder = folder
        self.judge = judge
        self.judge_label = judge.record_label if judge else None
        guard = folder.identity["guard"]
        self.guard_label = label_with_revision(
            scorer.label, guard["weights"], guard["adapter"]
        )
        self.generator_label = REPLAY
        if generator:
            weights = folder.identity["generator"]["weights"]
            self.generator_label = label_with_revision(generator.label, weights)
        self._left_out: list[dict[str, str]] = []
        self._check_stored_records()

    def _check_stored_records(self) -> None:
        """Raise DataError for records of another guard, judge or language model.

        Lines that were lost are collected again, and those that were changed do not
        have their checksum; but a whole file may be that of another collection.
        """
        for record in self.folder.records:
            made_by = (record.guard, record.generator, record.judge)
            if (
                made_by != (self.guard_label, self.generator_label, self.judge_label)
                or record.passed != (record.p_in < self.options.threshold)
                or record.blocked != self._blocks(record.p_out)
            ):
                raise DataError(
                    f"{self.folder.path / COLLECTED_FILE} holds records of another "
                    f"collection ({record.guard}, {record.generator}): collect again "
                    "into a new folder"
                )

    def _blocks(self, p_out: float | None) -> bool | None:
        return None if p_out is None else p_out >= self.options.threshold

    def run(self, items: Sequence[CollectionItem]) -> None:
        """Process all chunks that are not in the folder yet, with a progress bar."""
        done = self.folder.processed_keys
        # Chunks are cut before finished ones are dropped: their borders, and with them
        # the batches, must not depend on how far an earlier run came.
        open_chunks = [
            chunk
            for chunk in self._chunks(items)
            if not all(key in done for item in chunk for key in self._record_keys(item))
        ]
        n_done = len(items) - sum(map(len, open_chunks))
        bar = ProgressBar("collect", len(items), "prompts").start(n_done)
        try:
            with self.scorer.reuse_shared_prefix():
                for chunk in open_chunks:
                    self.process_chunk(chunk, done)
                    bar.move(len(chunk))
        finally:
            bar.end()

    def _chunks(
        self, items: Sequence[CollectionItem]
    ) -> Iterator[list[CollectionItem]]:
        size = self.options.save_every
        for start in range(0, len(items), size):
            yield list(items[start : start + size])

    def process_chunk(self, items: Sequence[CollectionItem], done: set[Key]) -> None:
        """Score and answer some prompts; append those records that are not `done`."""
        self._left_out = []
        exchanges = self._add_responses(self._score_prompts(items))
        if self.judge:
            exchanges = self._judge_responses(exchanges, self.judge)
        else:
            self._score_responses(exchanges)
        self._add_categories(exchanges)
        records = [self._to_record(exchange) for exchange in exchanges]
        self.folder.append(
            [record for record in records if record.key not in done],
            [
                row
                for row in self._left_out
                if (row["prompt_id"], row["response_id"]) not in done
            ],
        )

    def _score_prompts(self, items: Sequence[CollectionItem]) -> list[Exchange]:
        """Score the prompts alone; return an exchange for each response to come."""
        encoded = [
            (item, self._encode_or_skip(item, _prompt_turns(item))) for item in items
        ]
        readable = [(item, ids) for item, ids in encoded if ids is not None]
        # All of a chunk in one call, which sorts by length: batches are tight.
        logits = self.scorer.logits_of_encoded([ids for _, ids in readable])
        return [
            Exchange(item, response_id, _replayed_response(item, response_id), p, ids)
            for (item, ids), p in zip(readable, p_unsafe(logits).tolist(), strict=True)
            for _, response_id in self._record_keys(item)
        ]

    def _add_responses(self, exchanges: list[Exchange]) -> list[Exchange]:
        """Answer the prompts that passed; drop exchanges that the guard cannot read."""
        passed = [exchange for exchange in exchanges if self._passes(exchange)]
        if self.generator:
            prompts = [exchange.item.prompt for exchange in passed]
            answers = self.generator.answer(prompts)
            for exchange, answer in zip(passed, answers, strict=True):
                exchange.response = answer
        if self.judge:  # the guard reads no response
            return exchanges
        unreadable: set[int] = set()
        for exchange in passed:
            # An empty answer has nothing to be harmful: it is kept, and not judged.
            if exchange.response and exchange.response.strip():
                exchange.conversation_tokens = self._encode_or_skip(
                    exchange.item,
                    (
                        *_prompt_turns(exchange.item),
                        Turn("assistant", exchange.response),
                    ),
                    exchange.response_id,
                )
                if exchange.conversation_tokens is None:
                    unreadable.add(id(exchange))
        return [exchange for exchange in exchanges if id(exchange) not in unreadable]

    def _passes(self, exchange: Exchange) -> bool:
        return exchange.p_in < self.options.threshold

    def _score_responses(self, exchanges: Iterable[Exchange]) -> None:
        """Set p(unsafe) of each response in the light of its prompt."""
        judged = [
            (exchange, exchange.conversation_tokens)
            for exchange in exchanges
            if exchange.conversation_tokens is not None
        ]
        logits = self.scorer.logits_of_encoded([ids for _, ids in judged])
        for (exchange, _), p in zip(judged, p_unsafe(logits).tolist(), strict=True):
            exchange.p_out = p

    def _judge_responses(
        self, exchanges: Sequence[Exchange], judge: OutputGuard
    ) -> list[Exchange]:
        """Set the judge's p(unsafe) of each response; drop what it cannot judge.

        Responses to blocked prompts are judged as well: they are the truth of prompts
        that are held out, and the judge is not there any more when that is needed.
        """
        judged = [e for e in exchanges if e.response and e.response.strip()]
        pairs = [(e.item.prompt, e.response or "") for e in judged]
        scores, errors = judge.scores(pairs)
        failed: set[int] = set()
        for exchange, p, error in zip(judged, scores.tolist(), errors, strict=True):
            if error is None and p == p:  # noqa: PLR0124 - NaN has no score
                exchange.p_out = p
                continue
            failed.add(id(exchange))
            self._left_out.append(
                {
                    "prompt_id": exchange.item.id,
                    "response_id": exchange.response_id,
                    "reason": f"judge: {error or 'no score'}",
                }
            )
        return [exchange for exchange in exchanges if id(exchange) not in failed]

    def _add_categories(self, exchanges: Iterable[Exchange]) -> None:
        """Set the categories that the guard names for what it blocked."""
        blocked = [(exchange, self._blocked_tokens(exchange)) for exchange in exchanges]
        # Exchanges of one blocked prompt share its tokens: it is decoded once.
        inputs = list(dict.fromkeys(ids for _, ids in blocked if ids))
        categories = dict(
            zip(inputs, predict_categories(self.scorer, inputs), strict=True)
        )
        for exchange, ids in blocked:
            if ids:
                exchange.categories = categories[ids]

    def _blocked_tokens(self, exchange: Exchange) -> Ids | None:
        """Return the guard's input whose verdict blocked an exchange, if any did."""
        if not self._passes(exchange):
            return exchange.prompt_tokens
        return exchange.conversation_tokens if self._is_blocked(exchange) else None

    def _is_blocked(self, exchange: Exchange) -> bool | None:
        """Return whether the response is blocked, None if it was not judged."""
        return self._blocks(exchange.p_out)

    def _encode_or_skip(
        self,
        item: CollectionItem,
        turns: tuple[Turn, ...],
        response_id: str | None = None,
    ) -> Ids | None:
        """Return the guard's input, or None and a note for each record that it costs.

        Without `response_id` the input is that of the prompt, whose records all depend
        on it.
        """
        try:
            return self.scorer.encode(turns)
        except PromptError as error:
            for prompt_id, key in self._record_keys(item):
                if response_id in (None, key):
                    row = {"prompt_id": prompt_id, "response_id": key}
                    self._left_out.append(row | {"reason": str(error)})
        return None

    def _record_keys(self, item: CollectionItem) -> list[Key]:
        return record_keys(item, self.options.answers)

    def _to_record(self, exchange: Exchange) -> CollectionRecord:
        item = exchange.item
        from_dataset = item.responses.get(exchange.response_id)
        return CollectionRecord(
            prompt_id=item.id,
            response_id=exchange.response_id,
            prompt=item.prompt,
            response=exchange.response,
            p_in=exchange.p_in,
            p_out=exchange.p_out,
            categories=exchange.categories,
            passed=self._passes(exchange),
            blocked=self._is_blocked(exchange),
            label=majority_vote(item.votes),
            response_label=majority_vote(from_dataset.votes) if from_dataset else None,
            group=item.group,
            dataset=item.dataset,
            revision=item.revision,
            guard=self.guard_label,
            generator=self.generator_label,
            judge=self.judge_label,
        )


def record_keys(item: CollectionItem, answers: int) -> list[Key]:
    """Return the key of each record of a prompt: of its responses, or of `answers`.

    Answers of a language model are numbered: their texts are unknown until they are
    generated, and a key must be known before.
    """
    response_ids = list(item.responses) or [str(i) for i in range(answers)]
    return [(item.id, response_id) for response_id in response_ids]


def _replayed_response(item: CollectionItem, response_id: str) -> str | None:
    return item.responses[response_id].text if item.responses else None


def _prompt_turns(item: CollectionItem) -> tuple[Turn, ...]:
    return (Turn("user", item.prompt),)
