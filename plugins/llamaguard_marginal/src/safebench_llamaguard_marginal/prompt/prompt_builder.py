"""From a sample to the token ids of its prompts, within the model's length limit."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from safebench.records import Turn

from .chat_template import PromptError
from .prompt_format import DOCUMENT_ROLE
from .tokenization import TruncatedPrompt, split_windows, truncate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.records import Sample

    from .prompt_format import PromptFormat, RenderedPrompt
    from .tokenization import EncodedPrompt, PromptEncoder


@dataclass(frozen=True, slots=True)
class SamplePrompts:
    """The prompts of one sample, several if it is read in windows, or why none."""

    prompts: list[TruncatedPrompt]
    error: str | None = None


class PromptBuilder:
    """Renders, encodes and truncates conversations; `limit` is in tokens."""

    def __init__(
        self,
        prompt_format: PromptFormat,
        encoder: PromptEncoder,
        limit: int,
        truncation: Literal["left", "right", "windows"],
    ) -> None:
        self.prompt_format = prompt_format
        self.encoder = encoder
        self.limit = limit
        self.truncation = truncation

    def build(self, sample: Sample) -> SamplePrompts:
        """Return the prompts of the judged turn, turns before it and documents."""
        try:
            return SamplePrompts(self._prompts(turns_up_to_judged(sample)))
        except PromptError as error:
            return SamplePrompts([], str(error))

    def encode(self, turns: Sequence[Turn]) -> EncodedPrompt:
        """Return the whole prompt, whatever the limit."""
        return self.encoder.encode(self.prompt_format.render(turns))

    def probe_prompt(self, role: str) -> EncodedPrompt:
        """Return the prompt of a short conversation that ends with a turn of `role`."""
        turns = [Turn("user", "Hello."), Turn("assistant", "Hi.")]
        turns = turns[: 1 + (role == "assistant")]
        try:
            return self.encode(turns)
        except PromptError:  # a template may need a document to judge by
            return self.encode([Turn(DOCUMENT_ROLE, "Good day."), *turns])

    def _prompts(self, turns: Sequence[Turn]) -> list[TruncatedPrompt]:
        # A guard would judge the template: a verdict about nothing, but no error.
        if not turns[-1].text.strip():
            raise PromptError("the judged turn is empty")
        rendered, judged = self.prompt_format.render(turns), len(turns) - 1
        _check_documents(turns, rendered)
        whole = self.encoder.encode(rendered)
        if self.truncation == "windows":
            prompts = split_windows(whole, self.limit, judged)
        else:
            prompts = [truncate(whole, self.limit, judged, self.truncation)]
        n_left_out = self._count_left_out(turns, rendered)
        if not n_left_out:
            return prompts
        return [
            TruncatedPrompt(p.ids, p.tokens_dropped + n_left_out, "template")
            for p in prompts
        ]

    def _count_left_out(self, turns: Sequence[Turn], rendered: RenderedPrompt) -> int:
        """Count the tokens of earlier turns that the chat template leaves out.

        Some templates take no system turn, or the last exchange alone, and say nothing.
        """
        rendered_turns = {turn for turn, _, _ in rendered.spans}
        return sum(
            max(1, len(self.encoder.encode_text(turn.text)))
            for i, turn in enumerate(turns)
            if i not in rendered_turns
        )


def turns_up_to_judged(sample: Sample) -> tuple[Turn, ...]:
    """Return the documents of a sample and its turns up to the judged one."""
    count = len(sample.turns)
    if not -count <= sample.target < count:
        raise PromptError(f"there is no turn {sample.target} among {count}")
    # in front, so that what does not fit is cut there before the talk is
    documents = (Turn(DOCUMENT_ROLE, text) for text in sample.documents)
    return (*documents, *sample.turns[: range(count)[sample.target] + 1])


def _check_documents(turns: Sequence[Turn], rendered: RenderedPrompt) -> None:
    """Raise PromptError for a document that the prompt does not show."""
    shown = {turn for turn, _, _ in rendered.spans}
    for i, turn in enumerate(turns):
        if turn.role == DOCUMENT_ROLE and i not in shown:
            raise PromptError(
                "the prompt of this guard shows no documents; a profile's text does "
                "with a slot {documents}, a template with prompt.turns.names.document "
                "or a variable [{text: '{document}'}]"
            )


# Pairs of conversations that differ in their texts alone, from the first letter on.
_PROBE_PAIRS = (
    ([Turn("user", "a")], [Turn("user", "Zebras?")]),
    (
        [Turn("user", "a"), Turn("assistant", "b")],
        [Turn("user", "Zebras?"), Turn("assistant", "No.")],
    ),
)


def shared_prefixes(
    prompt_format: PromptFormat, encoder: PromptEncoder
) -> list[tuple[int, ...]]:
    """Return the tokens that all prompts start with, for each role that is judged.

    Most of a guard's prompt is instructions: their keys and values are computed once.
    A format that takes only one of the two roles has one prefix.
    """
    prefixes = []
    for first, second in _PROBE_PAIRS:
        with suppress(PromptError):
            a = encoder.encode(prompt_format.render(first)).ids
            b = encoder.encode(prompt_format.render(second)).ids
            prefixes.append(_common_prefix(a, b))
    return prefixes


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    length = 0
    while length < min(len(a), len(b)) and a[length] == b[length]:
        length += 1
    return tuple(a[:length])
