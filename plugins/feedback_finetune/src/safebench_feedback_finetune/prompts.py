"""Prompts as training and measuring see them: one each, whatever asked or answered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from safebench.records import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .records import Collected
    from .scorer import VerdictScorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt with what is known of it.

    `p_in` is the base guard's p(unsafe) of the prompt alone (None: not asked yet),
    `p_out` that of each judged response, `responses` those that nobody judged. `label`
    is what people say of the prompt (True: harmful).
    """

    id: str
    text: str
    dataset: str
    group: str
    label: bool | None = None
    p_in: float | None = None
    p_out: tuple[float, ...] = ()
    responses: tuple[str, ...] = ()
    passed: bool = True

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The prompt as the guard is asked about it."""
        return (Turn("user", self.text),)

    def block_rate(self, threshold: float) -> float | None:
        """Return the share of the responses that are blocked, None without any."""
        if not self.p_out:
            return None
        return sum(p >= threshold for p in self.p_out) / len(self.p_out)

    def p_block(self) -> float | None:
        """Return the mean p(unsafe) of the responses, None without any."""
        return sum(self.p_out) / len(self.p_out) if self.p_out else None


def prompts_of(records: Iterable[Collected]) -> list[Prompt]:
    """Return each prompt of a collection once, in its order."""
    members: dict[str, list[Collected]] = {}
    for record in records:
        members.setdefault(record.prompt_id, []).append(record)
    return [_prompt(rows) for rows in members.values()]


def _prompt(rows: Sequence[Collected]) -> Prompt:
    first = rows[0]
    return Prompt(
        id=first.prompt_id,
        text=first.prompt,
        dataset=first.dataset,
        group=first.group,
        label=first.label,
        p_in=first.p_in,
        p_out=tuple(row.p_out for row in rows if row.p_out is not None),
        responses=tuple(
            row.response
            for row in rows
            if row.p_out is None and row.response and row.response.strip()
        ),
        passed=first.passed,
    )


def judge_responses(
    prompts: Sequence[Prompt],
    scorer: VerdictScorer,
    tick: Callable[[int], None] | None = None,
) -> list[Prompt]:
    """Return the prompts with every response judged by the guard as it is now.

    Responses to prompts that were stopped are there if they were replayed. Without
    them the recall of the base guard would be 0 by construction.
    """
    asked = [
        (at, (*prompt.turns, Turn("assistant", response)))
        for at, prompt in enumerate(prompts)
        for response in prompt.responses
    ]
    scores = scorer.p_unsafe([turns for _, turns in asked], tick).tolist()
    found: dict[int, list[float]] = {}
    for (at, _), score in zip(asked, scores, strict=True):
        found.setdefault(at, []).append(score)
    return [
        replace(prompt, p_out=(*prompt.p_out, *found.get(at, ())), responses=())
        for at, prompt in enumerate(prompts)
    ]
