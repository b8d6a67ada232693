"""Prompts on their way through input guard, language model and output guard.

A chunk of prompts is asked as a whole, so that its scores come from the same batches
wherever and whenever it is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safebench.records import Turn
from safebench_feedback_finetune.guard_loading import label_with_revision
from safebench_feedback_finetune.options import REPLAY
from safebench_feedback_finetune.scorer import p_unsafe
from safebench_llamaguard_marginal import PromptError

from .collection_folder import CollectionRecord
from .collection_input import majority_vote
from .predicted_categories import predict_categories

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from safebench_feedback_finetune.options import CollectOptions
    from safebench_feedback_finetune.scorer import VerdictScorer

    from .collection_input import CollectionItem
    from .generator import ResponseGenerator
    from .output_guard import OutputGuard

    Ids = tuple[int, ...]
    Key = tuple[str, str]


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


@dataclass(slots=True)
class ChunkResult:
    """The records of a chunk of prompts, and what could not be asked, with reasons."""

    records: list[CollectionRecord] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)

    def without(self, done: set[Key]) -> ChunkResult:
        """Return what is not `done` yet, by prompt and response."""
        return ChunkResult(
            [record for record in self.records if record.key not in done],
            [
                row
                for row in self.left_out
                if (row["prompt_id"], row["response_id"]) not in done
            ],
        )


class ChunkCollector:
    """Asks guard, language model and guard about chunks of prompts.

    `identity` is that of the collection: records name guard and model by it.
    """

    def __init__(
        self,
        options: CollectOptions,
        scorer: VerdictScorer,
        generator: ResponseGenerator | None,
        judge: OutputGuard | None,
        identity: Mapping[str, Any],
    ) -> None:
        self.options = options
        self.scorer = scorer
        self.generator = generator
        self.judge = judge
        self.judge_label = judge.record_label if judge else None
        guard = identity["guard"]
        self.guard_label = label_with_revision(
            scorer.label, guard["weights"], guard["adapter"]
        )
        self.generator_label = REPLAY
        if generator:
            weights = identity["generator"]["weights"]
            self.generator_label = label_with_revision(generator.label, weights)
        self._left_out: list[dict[str, str]] = []

    def blocks(self, p_out: float | None) -> bool | None:
        """Return whether a response of this p(unsafe) is blocked, None without one."""
        return None if p_out is None else p_out >= self.options.threshold

    def collect(self, items: Sequence[CollectionItem]) -> ChunkResult:
        """Score and answer the prompts of one chunk."""
        self._left_out = []
        exchanges = self._add_responses(self._score_prompts(items))
        if self.judge:
            exchanges = self._judge_responses(exchanges, self.judge)
        else:
            self._score_responses(exchanges)
        self._add_categories(exchanges)
        return ChunkResult([self._to_record(e) for e in exchanges], self._left_out)

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
        return self.blocks(exchange.p_out)

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
