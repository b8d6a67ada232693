"""Who shares evidence: what of a conversation it depends on, and its key.

A conversation is its turns and the documents that come with it, by their texts: two
rows of one text are the same conversation, whatever data set they stand in. The judged
role is that of the turn that a row asks about, the prompt (any turn but an assistant's)
or the response. A classifier's `evidence_scope` says how much of that its answer
depends on:

``target``
    conversation, judged turn and task: another task is another question;
``turn``
    the judged turn and what precedes it: one answer serves every task of that turn,
    such as harm and refusal of a response, and every row that goes on from there in
    its own way;
``conversation``
    the exchange of the judged turn, a prompt with the response that follows it, and
    what precedes it: one answer serves every task of prompt and response.

With the two latter a classifier is handed the sample as it was cut for its key, so
that evidence cannot depend on which data set came first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

from safebench.records import RESPONSE_TASKS, TASKS, content_hash

if TYPE_CHECKING:
    from collections.abc import Collection

    from safebench.records import Sample

EvidenceScope = Literal["target", "turn", "conversation"]
SCOPES: tuple[EvidenceScope, ...] = get_args(EvidenceScope)


def sample_to_record(
    sample: Sample, scope: EvidenceScope, tasks: Collection[str]
) -> Sample:
    """Return what a classifier is handed: equal for samples that share evidence.

    Turns after those that the evidence depends on are cut off, the last of the others
    is the judged one, and the task is the first of the classifier's `tasks` that judge
    such a turn (in the order of `safebench.records.TASKS`).
    """
    if scope == "target":
        return sample
    end = _end_of_scope(sample, scope)
    role = sample.turns[end - 1].role
    return replace(
        sample,
        turns=sample.turns[:end],
        target=end - 1,
        task=_first_task(role, tasks) or sample.task,
    )


def sample_keys(sample: Sample, scope: EvidenceScope) -> tuple[str, ...]:
    """Return the keys of a sample's evidence: the one for today, then earlier ones.

    Evidence that is stored under an earlier key, of a classifier whose scope was
    narrower then, serves as well.
    """
    narrow = f"{sample.content}:{sample.target % len(sample.turns)}:{sample.task}"
    if scope == "target":
        return (narrow,)
    end = _end_of_scope(sample, scope)
    content = content_hash(sample.turns[:end], sample.documents)
    return (content,) if scope == "conversation" else (f"{content}:turn", narrow)


def judged_with_response(sample: Sample, scope: EvidenceScope) -> bool:
    """Tell whether a prompt is judged beside the response that follows it."""
    if scope == "target":
        return False
    return _end_of_scope(sample, scope) > sample.target % len(sample.turns) + 1


def _end_of_scope(sample: Sample, scope: EvidenceScope) -> int:
    """Return how many turns the evidence depends on, the first ones."""
    judged = sample.target % len(sample.turns)
    if scope == "conversation" and sample.turns[judged].role != "assistant":
        for turn in range(judged + 1, len(sample.turns)):
            if sample.turns[turn].role == "user":  # another exchange begins
                break
            if sample.turns[turn].role == "assistant":
                return turn + 1
    return judged + 1


def _first_task(role: str, tasks: Collection[str]) -> str | None:
    fitting = (t for t in TASKS if (t in RESPONSE_TASKS) == (role == "assistant"))
    return next((task for task in fitting if task in tasks), None)
