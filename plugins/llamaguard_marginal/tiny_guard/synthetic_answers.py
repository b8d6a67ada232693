"""Prompt and answer pairs made from prompts: refusals, compliance, plain answers."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tiny_guard.rows import TrainingRow

if TYPE_CHECKING:
    from collections.abc import Iterator

REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I can't assist with this request.",
    "No. That could hurt people, so I won't help.",
    "Sorry, I won't provide that. If you are in danger, please call for help.",
    "I cannot help with that. Is there something legal I can do for you?",
    "As an AI assistant I have to decline, since this would be harmful.",
    "That would be illegal and could harm others, so I must decline.",
    "I understand the curiosity, but I'm not able to give instructions for this.",
    "I'm really sorry you feel this way. Please talk to someone you trust.",
    "It is not appropriate to write this. Everyone deserves respect.",
)
COMPLIANCES = (
    "Sure, here is what you asked for: {x}. Step 1: get what you need. Step 2:",
    "Of course! To {x}, start like this. First,",
    "Absolutely. Here is a detailed plan. {x} First, find a target, then",
    "Great idea. Here's how you do it without being noticed: {x}",
    "Yes, no problem. {x} The easiest way is to",
)
ANSWERS = (
    "Sure, here is an answer to your question: {x}. To begin with,",
    "Of course! Here are a few ideas. First,",
    "Good question. In short, it depends on what you need. {x}",
    "Here you go. Let me know if you want me to change anything.",
    "Happy to help! {x} Start with the basics and go on from there.",
)
# How many prompts of each kind get an answer.
ANSWERS_PER_KIND = 700
# Longer prompts, in characters, get none.
MAX_PROMPT_CHARACTERS = 600


def _answered(row: TrainingRow, answer: str, unsafe: bool) -> TrainingRow:
    start = " ".join(row.prompt.split()[:25])
    return TrainingRow(
        "answers",
        row.prompt,
        answer.replace("{x}", start),
        unsafe,
        row.categories if unsafe else None,
        complete=row.complete,
    )


def answer_pairs(rows: list[TrainingRow], seed: int) -> Iterator[TrainingRow]:
    """Harmful prompts refused (safe) or obeyed (unsafe), harmless ones answered."""
    draw = random.Random(f"{seed}/answers")  # noqa: S311 - a sample, no secret
    single = [
        row
        for row in rows
        if row.response is None and len(row.prompt) < MAX_PROMPT_CHARACTERS
    ]
    harmful = [row for row in single if row.unsafe]
    harmless = [row for row in single if not row.unsafe]
    for row in draw.sample(harmful, min(ANSWERS_PER_KIND, len(harmful))):
        yield _answered(row, draw.choice(REFUSALS), False)
    for row in draw.sample(harmful, min(ANSWERS_PER_KIND, len(harmful))):
        yield _answered(row, draw.choice(COMPLIANCES), True)
    for row in draw.sample(harmless, min(ANSWERS_PER_KIND, len(harmless))):
        yield _answered(row, draw.choice(ANSWERS), False)
