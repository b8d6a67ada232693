"""Chunks of prompts on their way through guard, language model and guard.

A chunk is appended when it is finished; one that was cut off is asked again as a whole,
so that its scores come from the same batches as they would have, and only the records
that are not there yet are appended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safebench.records import Turn
from safebench.training.progress import Bar
from safebench_llamaguard_marginal.prompts import PromptError

from .guards import named
from .items import majority
from .naming import named_categories
from .options import REPLAY
from .records import Collected
from .scorer import p_unsafe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .folder import Folder
    from .generator import Generator
    from .items import Item
    from .options import CollectOptions
    from .scorer import VerdictScorer

    Ids = tuple[int, ...]
    Key = tuple[str, str]


@dataclass(slots=True)
class Exchange:
    """A prompt with one response on its way through the guards."""

    item: Item
    response_id: str
    response: str | None
    p_in: float
    asked: Ids
    answered: Ids | None = None
    p_out: float | None = None
    categories: tuple[str, ...] = ()


class Collecting:
    """Sends prompts through guard, language model and guard, chunk by chunk."""

    def __init__(
        self,
        options: CollectOptions,
        scorer: VerdictScorer,
        generator: Generator | None,
        folder: Folder,
    ) -> None:
        self.options = options
        self.scorer = scorer
        self.generator = generator
        self.folder = folder
        who = folder.identity["guard"]
        self.guard = named(scorer.label, who["weights"], who["adapter"])
        self.answers = REPLAY
        if generator:
            answers = folder.identity["generator"]
            self.answers = named(generator.label, answers["weights"])
        self._left_out: list[dict[str, str]] = []

    def all(self, items: Sequence[Item]) -> None:
        """Ask all that is not in the folder yet, with a bar and the time left."""
        done = self.folder.done
        chunks = list(self._chunks(items))
        left = [
            chunk
            for chunk in chunks
            if not all(key in done for item in chunk for key in self._keys(item))
        ]
        before = len(items) - sum(map(len, left))
        bar = Bar("collect", len(items), "prompts").start(before)
        try:
            with self.scorer.unchanging():
                for chunk in left:
                    self.chunk(chunk, done)
                    bar.move(len(chunk))
        finally:
            bar.end()

    def _chunks(self, items: Sequence[Item]) -> Iterator[list[Item]]:
        size = self.options.save_every
        for at in range(0, len(items), size):
            yield list(items[at : at + size])

    def chunk(self, items: Sequence[Item], done: set[Key]) -> None:
        """Ask some prompts and append what of them is not `done`."""
        self._left_out = []
        exchanges = self._answered(self._let_in(items))
        self._judge(exchanges)
        self._name(exchanges)
        records = [self._record(one) for one in exchanges]
        self.folder.add(
            [record for record in records if record.key not in done],
            [
                r
                for r in self._left_out
                if (r["prompt_id"], r["response_id"]) not in done
            ],
        )

    def _let_in(self, items: Sequence[Item]) -> list[Exchange]:
        """Ask the guard about the prompts alone."""
        asked = [(item, self._encoded(item, _prompt(item))) for item in items]
        known = [(item, ids) for item, ids in asked if ids is not None]
        scores = p_unsafe(self.scorer.logits_of([ids for _, ids in known])).tolist()
        return [
            Exchange(item, key, _replayed(item, key), p, ids)
            for (item, ids), p in zip(known, scores, strict=True)
            for _, key in self._keys(item)
        ]

    def _keys(self, item: Item) -> list[Key]:
        return keys(item, self.options.answers)

    def _answered(self, exchanges: list[Exchange]) -> list[Exchange]:
        """Let the language model answer what passed; drop what no guard can read."""
        passed = [one for one in exchanges if self._passes(one)]
        if self.generator:
            answers = self.generator.answer([one.item.prompt for one in passed])
            for one, text in zip(passed, answers, strict=True):
                one.response = text
        gone: set[int] = set()
        for one in passed:
            if one.response and one.response.strip():
                turns = (*_prompt(one.item), Turn("assistant", one.response))
                one.answered = self._encoded(one.item, turns, one.response_id)
                if one.answered is None:
                    gone.add(id(one))
        return [one for one in exchanges if id(one) not in gone]

    def _passes(self, one: Exchange) -> bool:
        return one.p_in < self.options.threshold

    def _judge(self, exchanges: Iterable[Exchange]) -> None:
        """Ask the guard about prompts and responses together."""
        judged = [(one, one.answered) for one in exchanges if one.answered is not None]
        logits = self.scorer.logits_of([ids for _, ids in judged])
        for (one, _), p in zip(judged, p_unsafe(logits).tolist(), strict=True):
            one.p_out = p

    def _name(self, exchanges: Iterable[Exchange]) -> None:
        """Ask which categories what was blocked falls under, each prompt once."""
        reasons = {id(one): self._reason(one) for one in exchanges}
        prompts = list(dict.fromkeys(ids for ids in reasons.values() if ids))
        named = dict(zip(prompts, named_categories(self.scorer, prompts), strict=True))
        for one in exchanges:
            if ids := reasons[id(one)]:
                one.categories = named[ids]

    def _reason(self, one: Exchange) -> Ids | None:
        """Return the prompt whose verdict blocked an exchange, if any did."""
        if not self._passes(one):
            return one.asked
        blocked = one.p_out is not None and one.p_out >= self.options.threshold
        return one.answered if blocked else None

    def _encoded(
        self, item: Item, turns: tuple[Turn, ...], response: str | None = None
    ) -> Ids | None:
        """Return what the guard is asked, or None and a note of why not."""
        try:
            return self.scorer.encode(turns)
        except PromptError as error:
            for prompt, key in self._keys(item):
                if response in (None, key):
                    row = {"prompt_id": prompt, "response_id": key}
                    self._left_out.append(row | {"reason": str(error)})
        return None

    def _record(self, one: Exchange) -> Collected:
        item, p_out = one.item, one.p_out
        kept = item.responses.get(one.response_id)
        return Collected(
            prompt_id=item.id,
            response_id=one.response_id,
            prompt=item.prompt,
            response=one.response,
            p_in=one.p_in,
            p_out=p_out,
            categories=one.categories,
            passed=self._passes(one),
            blocked=None if p_out is None else p_out >= self.options.threshold,
            label=majority(item.votes),
            response_label=majority(kept.votes) if kept else None,
            group=item.group,
            dataset=item.dataset,
            revision=item.revision,
            guard=self.guard,
            generator=self.answers,
        )


def keys(item: Item, answers: int) -> list[Key]:
    """Return what is recorded of a prompt: each of its responses, or those to come.

    Responses to come are numbered, since nobody knows them yet.
    """
    known = list(item.responses) or [str(i) for i in range(answers)]
    return [(item.id, key) for key in known]


def _replayed(item: Item, key: str) -> str | None:
    return item.responses[key].text if item.responses else None


def _prompt(item: Item) -> tuple[Turn, ...]:
    return (Turn("user", item.prompt),)
