"""`Prompt`: a prompt with its labels and the scores of its responses, each once.

A collection has a record for each response. Training and evaluation are about prompts,
so all responses to one prompt are gathered here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from safebench.records import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from safebench_feedback_finetune.scorer import VerdictScorer

    from .collection_folder import CollectionRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt with all that is known of it.

    `p_in` is the base guard's p(unsafe) of the prompt alone (None: not scored yet),
    `p_out` that of each judged response, `responses` are those not judged yet. `label`
    is the annotators' label of the prompt (True: harmful). `passed` says whether the
    guard let the prompt pass while collecting.
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
        """The prompt as a conversation of one turn."""
        return (Turn("user", self.text),)

    def block_rate(self, threshold: float) -> float | None:
        """Return the share of the responses that are blocked, None without any."""
        if not self.p_out:
            return None
        return sum(p >= threshold for p in self.p_out) / len(self.p_out)

    def mean_p_out(self) -> float | None:
        """Return the mean p(unsafe) of the responses, None without any."""
        return sum(self.p_out) / len(self.p_out) if self.p_out else None


def prompts_of_collection(records: Iterable[CollectionRecord]) -> list[Prompt]:
    """Return each prompt of a collection once, in the order of first records."""
    by_prompt: dict[str, list[CollectionRecord]] = {}
    for record in records:
        by_prompt.setdefault(record.prompt_id, []).append(record)
    return [_merge_records(group) for group in by_prompt.values()]


def _merge_records(records: Sequence[CollectionRecord]) -> Prompt:
    first = records[0]
    return Prompt(
        id=first.prompt_id,
        text=first.prompt,
        dataset=first.dataset,
        group=first.group,
        label=first.label,
        p_in=first.p_in,
        p_out=tuple(record.p_out for record in records if record.p_out is not None),
        responses=tuple(
            record.response
            for record in records
            if record.p_out is None and record.response and record.response.strip()
        ),
        passed=first.passed,
    )


def score_responses(
    prompts: Sequence[Prompt],
    scorer: VerdictScorer,
    on_progress: Callable[[int], None] | None = None,
) -> list[Prompt]:
    """Return the prompts with all their responses judged by the guard.

    A replayed collection has responses to prompts that the guard blocked, which were
    not judged while collecting. Without their scores every prompt known to draw a
    blocked response would be one that the base guard let pass, and the base guard's
    recall would be 0 by construction.
    """
    unjudged = [
        (row, (*prompt.turns, Turn("assistant", response)))
        for row, prompt in enumerate(prompts)
        for response in prompt.responses
    ]
    scores = scorer.p_unsafe([turns for _, turns in unjudged], on_progress).tolist()
    scores_by_row: dict[int, list[float]] = {}
    for (row, _), score in zip(unjudged, scores, strict=True):
        scores_by_row.setdefault(row, []).append(score)
    return [
        replace(
            prompt, p_out=(*prompt.p_out, *scores_by_row.get(row, ())), responses=()
        )
        for row, prompt in enumerate(prompts)
    ]
