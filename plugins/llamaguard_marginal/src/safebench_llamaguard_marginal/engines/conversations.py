"""Samples as conversations, which a chat endpoint makes its own prompts of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.errors import OptionError
from safebench_llamaguard_marginal.prompt.chat_template import PromptError
from safebench_llamaguard_marginal.prompt.profile_format import message_texts
from safebench_llamaguard_marginal.prompt.prompt_builder import turns_up_to_judged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.policies import Policy
    from safebench.records import Sample, Turn
    from safebench_llamaguard_marginal.profile.resolve import Profile
    from safebench_llamaguard_marginal.profile.schema import PromptSection
    from safebench_llamaguard_marginal.prompt.prompt_builder import SamplePrompts

    from .chat_model import ChatModel

    Message = Mapping[str, str]

_ELSE = "api=completions would work where the server takes token ids, or engine=hf"


class Conversations:
    """Makes the messages of samples, as a profile says.

    A conversation as it is, where the prompt is that of the server's template, or the
    profile's own text in a message. Raises OptionError for a profile that no
    conversation can follow.
    """

    def __init__(self, profile: Profile, policy: Policy) -> None:
        self._profile = profile
        self._texts = {}
        for role, prompt in profile.prompts.items():
            if reason := _not_a_conversation(prompt):
                raise OptionError(
                    f"llamaguard: profile {profile.name} {reason}, which no chat "
                    f"endpoint follows; {_ELSE}"
                )
            if prompt.source == "message":
                self._texts[role] = message_texts(profile, policy, role)

    @property
    def variables(self) -> dict[str, Any]:
        """What the server's template would have to be given; empty for most."""
        found: dict[str, Any] = {}
        for prompt in self._profile.prompts.values():
            found |= prompt.variables
        return found

    def messages(self, sample: Sample) -> list[Message]:
        """Return the messages about a sample; raises PromptError where there are none.

        The last of them is never the guard's: templates would take it for the turn to
        judge, or go on with it.
        """
        if sample.documents:
            raise PromptError("a chat endpoint takes no documents")
        turns = turns_up_to_judged(sample)
        if not turns[-1].text.strip():
            raise PromptError("the judged turn is empty")
        role = turns[-1].role
        if role in self._texts:
            return [_message(turn) for turn in self._texts[role](turns)]
        prompt = self._profile.prompts.get(role)
        last = prompt.turns.last if prompt else 0
        return [_message(turn) for turn in turns[-last:]]


def _message(turn: Turn) -> Message:
    return {"role": turn.role, "content": turn.text}


def _not_a_conversation(prompt: PromptSection) -> str:
    """Say what of a prompt no message says; "" for nothing."""
    if prompt.source == "raw":
        return "asks by a text without a chat template"
    if prompt.prefill:
        return f"begins the answer itself ({prompt.prefill!r:.40})"
    if prompt.turns.append:
        return "appends a turn of its own"
    return ""


def start_conversations(
    model: ChatModel,
    conversations: Conversations,
    samples: Sequence[Sample],
    prompts: Sequence[Sequence[SamplePrompts]],
) -> list[str | None]:
    """Tell a model which conversation stands behind the prompt of each sample.

    Returns why a sample cannot be asked about, None where it can.
    """
    started = {}
    problems: list[str | None] = []
    for sample, parts in zip(samples, prompts, strict=True):
        problem = no_conversation(parts)
        if problem is None and parts[0].prompts:
            try:
                ids = tuple(parts[0].prompts[0].ids)
                started[ids] = conversations.messages(sample)
            except PromptError as error:
                problem = str(error)
        problems.append(problem)
    model.converse(started)
    return problems


def no_conversation(parts: Sequence[SamplePrompts]) -> str | None:
    """Say why prompts are no conversation that a server could make its prompt of."""
    if len(parts) > 1:
        return "a chat endpoint takes one question about a sample"
    prompts = parts[0].prompts
    cut = any(p.tokens_dropped and p.dropped_side != "template" for p in prompts)
    if cut or len(prompts) > 1:
        return "too long for a chat endpoint, which takes no part of a conversation"
    return None
