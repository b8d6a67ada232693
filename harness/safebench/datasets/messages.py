"""Read a conversation from a list of messages with role and content.

The forms that chat programs write are understood where they say the same thing: content
as text or as a list of text parts. What cannot be judged as text is refused rather than
left out: a verdict on half a conversation would look like one on all of it.
"""

from __future__ import annotations

from typing import Any

from safebench.errors import did_you_mean
from safebench.records import Turn

from .formats import parse_json
from .request import BadRowError

# Whether a guard can show a system or a tool turn is for its template to say.
ROLES = ("system", "user", "assistant", "tool")
ROLE_SYNONYMS = {
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "agent": "assistant",
    "chatbot": "assistant",
    "developer": "system",
    "function": "tool",
    "ipython": "tool",
}
TEXT_PARTS = ("text", "input_text", "output_text")
# What an assistant says beside its text.
CALL_KEYS = ("tool_calls", "function_call")


def parse_messages(value: object) -> tuple[Turn, ...]:
    """Return the turns of ``[{"role": ..., "content": ...}, ...]``.

    The list may be JSON text, as in a cell of a table. Raises `BadRowError`.
    """
    turns = tuple(_parse_message(message) for message in message_list(value))
    if not any(turn.text.strip() for turn in turns if turn.role == "user"):
        raise BadRowError("empty prompt")
    return turns


def message_list(value: object) -> list[Any]:
    """Return the messages as a list, from a list or its JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = parse_json(value)
        except (ValueError, RecursionError) as error:
            raise BadRowError(f"messages are no JSON ({error})") from None
    if not isinstance(value, (list, tuple)):
        raise BadRowError(f"messages are no list of role and content: {value!r:.60}")
    return list(value)


def _parse_message(message: object) -> Turn:
    if not isinstance(message, dict) or "content" not in message:
        sharegpt = isinstance(message, dict) and {"from", "value"} <= message.keys()
        hint = "; name them role and content, not from and value" if sharegpt else ""
        raise BadRowError(f"a message needs role and content: {message!r:.80}{hint}")
    role = message.get("role")
    if role not in ROLES:
        synonym = ROLE_SYNONYMS.get(str(role).casefold())
        hint = f"; did you mean {synonym!r}?" if synonym else ""
        raise BadRowError(
            f"unknown role {role!r:.60}{hint or did_you_mean(str(role), ROLES)}"
        )
    for key in CALL_KEYS:
        if message.get(key):
            raise BadRowError(
                f"{key} are no text and would not be judged: write them into content, "
                "or leave the key out"
            )
    return Turn(role, content_text(message["content"]))


def content_text(content: object) -> str:
    """Return the text of a message's content: text, or a list of text parts.

    Parts are joined by line feeds, as servers do for templates that take text. Raises
    `BadRowError` for a part that is no text (an image, a sound).
    """
    if isinstance(content, str):
        return content
    if isinstance(content, (list, tuple)) and content:
        return "\n".join(_part_text(part) for part in content)
    raise BadRowError(
        f"a message needs role and content, as text or text parts: {content!r:.60}"
    )


def _part_text(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise BadRowError(f"a content part is no text: {part!r:.60}")
    kind = part.get("type", "text")
    text = part.get("text")
    if kind not in TEXT_PARTS:
        raise BadRowError(f"a content part of type {kind!r:.40}: only text is judged")
    if not isinstance(text, str):
        raise BadRowError(f"a content part without its text: {part!r:.60}")
    return text
