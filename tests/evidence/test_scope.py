"""Which samples share evidence, by each scope, and what the classifier is handed."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pytest

from safebench.evidence.scope import sample_keys, sample_to_record
from safebench.records import Sample, Turn

if TYPE_CHECKING:
    from safebench.evidence.scope import EvidenceScope

ASKED, SAID = Turn("user", "how?"), Turn("assistant", "so")
OTHER, MORE = Turn("assistant", "not at all"), Turn("user", "and then?")
TOOL = Turn("tool", "3 hits")

# Each with the group of those that share evidence, by scope, worked out by hand.
SAMPLES = {
    "prompt alone": Sample(id="a", turns=(ASKED,)),
    "prompt, answered": Sample(id="b", turns=(ASKED, SAID), target=0),
    "the answer": Sample(id="c", turns=(ASKED, SAID), task="response_harm"),
    "its refusal": Sample(id="d", turns=(ASKED, SAID), target=1, task="refusal"),
    "prompt, otherwise": Sample(id="e", turns=(ASKED, OTHER), target=0),
    "mid-talk": Sample(id="f", turns=(ASKED, SAID, MORE), target=0),
    "mid-talk answer": Sample(
        id="g", turns=(ASKED, SAID, MORE), target=-2, task="refusal"
    ),
    "the next prompt": Sample(id="h", turns=(ASKED, SAID, MORE)),
    "with a tool": Sample(id="i", turns=(ASKED, TOOL, SAID), target=0),
    "held against a text": Sample(
        id="j", turns=(ASKED, SAID), task="response_harm", documents=("a text",)
    ),
    "jailbreak": Sample(id="k", turns=(ASKED,), task="jailbreak"),
}
SHARED: dict[EvidenceScope, list[set[str]]] = {
    "target": [],
    "turn": [
        {"prompt alone", "prompt, answered", "prompt, otherwise", "mid-talk",
         "with a tool", "jailbreak"},
        {"the answer", "its refusal", "mid-talk answer"},
    ],
    "conversation": [
        {"prompt, answered", "the answer", "its refusal", "mid-talk",
         "mid-talk answer"},
        {"prompt alone", "jailbreak"},
    ],
}  # fmt: skip
TASKS = frozenset({"prompt_harm", "jailbreak", "response_harm", "refusal"})


@pytest.mark.parametrize("scope", SHARED)
def test_samples_share_a_key_exactly_where_the_scope_says(scope: EvidenceScope) -> None:
    """All pairs of eleven samples; what shares a key is handed over alike."""
    for one, other in combinations(SAMPLES, 2):
        alike = any({one, other} <= group for group in SHARED[scope])
        keys = [sample_keys(SAMPLES[name], scope)[0] for name in (one, other)]
        handed = [
            (s.turns, s.target, s.task, s.documents)
            for s in (
                sample_to_record(SAMPLES[name], scope, TASKS) for name in (one, other)
            )
        ]

        assert alike == (keys[0] == keys[1]), (one, other)
        assert alike == (handed[0] == handed[1]), (one, other)


@pytest.mark.parametrize(
    ("name", "scope", "turns", "task"),
    [
        ("mid-talk", "target", (ASKED, SAID, MORE), "prompt_harm"),
        ("mid-talk", "turn", (ASKED,), "prompt_harm"),
        ("mid-talk", "conversation", (ASKED, SAID), "response_harm"),
        ("the next prompt", "conversation", (ASKED, SAID, MORE), "prompt_harm"),
        ("with a tool", "conversation", (ASKED, TOOL, SAID), "response_harm"),
        ("its refusal", "turn", (ASKED, SAID), "response_harm"),
    ],
)
def test_the_classifier_sees_what_the_key_names(
    name: str, scope: EvidenceScope, turns: tuple[Turn, ...], task: str
) -> None:
    """The judged turn is the last one; the task is the first one of its role."""
    handed = sample_to_record(SAMPLES[name], scope, TASKS)

    assert turns == handed.turns
    assert task == handed.task
    if scope != "target":
        assert turns[-1] == handed.judged


def test_a_task_that_no_list_has_stays() -> None:
    """A classifier of responses alone that is handed a prompt."""
    prompt = Sample(id="a", turns=(ASKED,), task="injection")

    assert "injection" == sample_to_record(prompt, "turn", {"refusal"}).task


def test_keys_of_earlier_versions_are_known() -> None:
    """Conversation, turn and task; the whole conversation: as they were stored."""
    sample = SAMPLES["its refusal"]
    narrow = f"{sample.content}:1:refusal"

    assert (narrow,) == sample_keys(sample, "target")
    assert narrow == sample_keys(sample, "turn")[1]
    assert (sample.content,) == sample_keys(sample, "conversation")
