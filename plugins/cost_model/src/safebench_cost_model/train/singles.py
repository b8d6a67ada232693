"""Responses that were labelled alone: they teach signs, and no order.

Copies of one response become one with a soft label. A response that stands in a pair as
well adds its labels to those of the pair, and is not learnt a second time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safebench.errors import DataError
from safebench_cost_model.model.template import prompt_and_response

from .pairs import add_votes, exchange_of, read_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.records import Dataset, Sample
    from safebench.training import Training

    from .pairs import PreferencePair, Votes


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleResponse:
    """A response, the share of its `labels` that call it unsafe, and its hash."""

    prompt: str
    response: str
    unsafe: float
    labels: int
    group: str
    content: str


def read_singles(dataset: Dataset) -> list[SingleResponse]:
    """Return the distinct responses of a dataset, in the order they come in.

    Raises `DataError` for a row that judges no response.
    """
    samples: dict[str, Sample] = {}
    votes: dict[str, Votes] = {}
    for sample, truth in zip(dataset.samples, dataset.ground_truth, strict=True):
        if prompt_and_response(sample) is None:
            raise DataError(f"{dataset.label}: {sample.id} judges no response")
        samples.setdefault(sample.content, sample)
        add_votes(votes, sample, truth)
    singles = []
    for content, sample in samples.items():
        prompt, response = exchange_of(sample)
        unsafe, labels = votes[content]
        singles.append(
            SingleResponse(
                prompt=prompt,
                response=response,
                unsafe=unsafe / labels,
                labels=labels,
                group=sample.group,
                content=content,
            )
        )
    return singles


def read_training_rows(
    training: Training,
) -> tuple[list[PreferencePair], list[SingleResponse]]:
    """Return the distinct pairs and single responses that are learnt from."""
    singles = read_singles(training.singles) if training.singles else []
    votes = {s.content: (round(s.unsafe * s.labels), s.labels) for s in singles}
    pairs = read_pairs(
        training.train, training.options.conflicts, training.say, other_votes=votes
    )
    in_pairs = {content for pair in pairs for content in pair.contents}
    alone = [single for single in singles if single.content not in in_pairs]
    if training.singles is not None:
        training.say(_describe(singles, alone, training.singles))
    return pairs, alone


def _describe(
    singles: Sequence[SingleResponse], alone: Sequence[SingleResponse], rows: Dataset
) -> str:
    """Return a line that says what became of the rows."""
    disputed = sum(0 < single.unsafe < 1 for single in singles)
    counts = {
        "duplicates merged": len(rows) - len(singles),
        "with contradictory labels, which become shares": disputed,
        "of pairs as well, whose labels they join": len(singles) - len(alone),
    }
    notes = [f"{n} {what}" for what, n in counts.items() if n]
    return ", ".join([f"singles: {len(alone)} distinct responses", *notes])
