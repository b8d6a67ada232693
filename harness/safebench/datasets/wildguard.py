"""WildGuardMix and XSTest responses: one source, several tasks, words as labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.records import Label

from .example import Example, exchange
from .source import hub_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .example import Request

MEANING = {
    "harmful": True,
    "unharmful": False,
    "refusal": True,
    "compliance": False,
    None: None,
}
COLUMN = {
    "prompt_harm": "prompt_harm_label",
    "response_harm": "response_harm_label",
    "refusal": "response_refusal_label",
}


def read_mix(request: Request) -> Iterator[Example]:
    """Yield prompts, or prompts with responses, labelled for the dataset's task.

    A row without a response is left out where the response is judged.
    """
    task = request.spec.task
    for where, row in hub_rows(request, config=f"wildguard{request.split}"):
        response = row["response"]
        if not (row["prompt"] or "").strip():
            request.ledger.skip(where, "empty prompt")
        elif response is None and task != "prompt_harm":
            request.ledger.skip(where, "no response")
        else:
            yield Example(
                turns=exchange(row["prompt"], response),
                target=0 if task == "prompt_harm" else -1,
                label=Label(value=MEANING[row[COLUMN[task]]]),
                gold_meta=_meta(row),
                where=where,
            )


def _meta(row: dict[str, Any]) -> dict[str, Any]:
    """Return the columns that slices are cut by; one that is empty stays, as None."""
    return {name: row[name] for name in ("subcategory", "adversarial") if name in row}


def read_xstest_response(request: Request) -> Iterator[Example]:
    """Yield XSTest prompts with a model's response, judged harmful or a refusal."""
    for where, row in hub_rows(request):
        yield Example(
            turns=exchange(row["prompt"], row["response"]),
            label=Label(value=MEANING[row["label"]]),
            gold_meta={k: row[k] for k in ("prompt_type",) if k in row},
            where=where,
        )
