"""All of a row that a verdict or a metric depends on, in bytes, for fingerprints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.records import GroundTruth, Label, Sample, Turn

# where a dataset keeps the hash of all its rows, if it was made as they were read
ROWS_DIGEST = "_rows_digest"
_encode = json.JSONEncoder(default=str).encode  # `json.dumps` makes one for each row


def row_bytes(sample: Sample, truth: GroundTruth, pairs: dict[str, int]) -> bytes:
    """Return a row of a dataset in bytes; `pairs` numbers the pairs that came before.

    Exact texts, unlike `Sample.content`: a guard may answer otherwise where only the
    white space differs. Names that were made up by a reader stay out, so that files of
    pairs, whose pair ids change with every row, can be extended.
    """
    return encoded_row(
        sample.id,
        sample.turns,
        (sample.task, sample.target, sample.group),
        truth.label,
        (truth.categories, truth.known, truth.meta.get("severity")),
        truth.pair,
        sample.documents,
        pairs,
    )


def encoded_row(
    sample_id: str,
    turns: Sequence[Turn],
    about: tuple[str, int, str],
    label: Label,
    truth: tuple[frozenset[str] | None, frozenset[str] | None, Any],
    pair: tuple[str, str] | None,
    documents: tuple[str, ...],
    pairs: dict[str, int],
) -> bytes:
    """Return the same of the parts of a row: `about` are task, target and group.

    `truth` are categories, those that are known, and severity.
    """
    task, target, group = about
    categories, known, severity = truth
    numbered = None
    if pair is not None:
        numbered = (pairs.setdefault(pair[0], len(pairs)), pair[1])
    content: tuple[Any, ...] = (
        sample_id,
        [(turn.role, turn.text) for turn in turns],
        (task, target % len(turns), group),
        (label.value, label.level, label.votes, label.weight),
        None if categories is None else sorted(categories),
        None if known is None else sorted(known),
        numbered,
        severity,
    )
    if documents:  # without any as in versions that had none
        content = (*content, documents)
    return _encode(content).encode() + b"\n"
