"""Probes: other questions that are put to a guard beside those of a dataset.

``main`` is the dataset itself. ``content_free`` are prompts that say nothing: what a
guard answers to them is its bias. Evidence of a probe has stores of its own,
``evidence/<key>/<probe>/``, and serves every dataset of the task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.records import (
    RESPONSE_TASKS,
    Dataset,
    GroundTruth,
    Label,
    Sample,
    Turn,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

MAIN = "main"
CONTENT_FREE = "content_free"
# Those of Zhao et al. (2021), arXiv 2102.09690, section 5, whose answers are averaged:
# of a guard that takes no empty text, the two others.
CONTENT_FREE_TEXTS = ("N/A", "[MASK]", "")


def content_free_set(task: str) -> Dataset:
    """Return the prompts that say nothing; for a response, to a prompt like it."""
    samples = [
        Sample(id=f"{CONTENT_FREE}/{row}", turns=_turns(text, task), task=task)
        for row, text in enumerate(CONTENT_FREE_TEXTS)
    ]
    return Dataset(
        name=CONTENT_FREE,
        config=None,
        split=task,
        task=task,
        policy=None,
        revision="",
        samples=samples,
        ground_truth=[GroundTruth(label=Label(value=None)) for _ in samples],
    )


def content_free_sets(tasks: Iterable[str]) -> dict[str, Dataset]:
    """Return a set for each task."""
    return {task: content_free_set(task) for task in dict.fromkeys(tasks)}


def _turns(text: str, task: str) -> tuple[Turn, ...]:
    prompt = Turn("user", text)
    return (prompt, Turn("assistant", text)) if task in RESPONSE_TASKS else (prompt,)
