"""The text around prompt and response, which is part of a trained cost model."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from safebench.records import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One text around prompt and response, or the two texts of an encoder's pair."""

    kind: Literal["text", "pair"]
    before: str = ""
    between: str = ""
    after: str = ""

    @property
    def sha256(self) -> str:
        """Return the hash of everything that is put around the texts."""
        content = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """Return what `template_from_json` reads back."""
        return asdict(self)


PAIR = Template(kind="pair")
QA = Template(kind="text", before="Question: ", between="\n\nAnswer: ")
# The frame that PKU-Alignment's published cost models were trained on.
BEAVER = Template(
    kind="text", before="BEGINNING OF CONVERSATION: USER: ", between=" ASSISTANT:"
)
TEMPLATES = {"qa": QA, "beaver": BEAVER, "pair": PAIR}


def template_from_json(content: dict[str, Any]) -> Template:
    """Return the template that `as_json` wrote."""
    return Template(**content)


def prompt_and_response(sample: Sample) -> tuple[str, str] | None:
    """Return the prompt and the judged response; None if no response is judged.

    Several earlier turns become one text with the role before each.
    """
    judged = sample.judged
    if judged.role != "assistant":
        return None
    position = range(len(sample.turns))[sample.target]  # targets may count from the end
    earlier = sample.turns[:position]
    if len(earlier) == 1:
        return earlier[0].text, judged.text
    turns = [f"{turn.role.capitalize()}: {turn.text}" for turn in earlier]
    return "\n\n".join(turns), judged.text
