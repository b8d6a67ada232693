"""All of a row that a verdict or a metric depends on, in bytes, for fingerprints."""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii as _quoted
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.records import GroundTruth, Label, Sample, Turn

# where a dataset keeps the hash of all its rows, if it was made as they were read
ROWS_DIGEST = "_rows_digest"
_JSON_VALUES = {True: "true", False: "false", None: "null"}
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


def _is_plain(label: Label) -> bool:
    """Tell whether a label is a class and nothing else; 1 is no JSON for true."""
    return (
        (label.value is None or type(label.value) is bool)
        and label.level is None
        and label.votes is None
        and type(label.weight) is float
        and label.weight == 1.0
    )


def _plain_row(
    sample_id: str,
    turns: Sequence[Turn],
    about: tuple[str, int, str],
    value: bool | None,
) -> bytes:
    """Return the bytes of a row with a label and nothing else, as most rows are.

    By its parts: the general encoder takes three times as long.
    """
    texts = ", ".join([f"[{_quoted(t.role)}, {_quoted(t.text)}]" for t in turns])
    task, target, group = about
    line = (
        f"[{_quoted(sample_id)}, [{texts}], "
        f"[{_quoted(task)}, {target}, {_quoted(group)}], "
        f"[{_JSON_VALUES[value]}, null, null, 1.0], null, null, null, null]\n"
    )
    return line.encode()


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
    # told one by one: a generator takes as long as all the rest of a plain row
    bare = categories is None and known is None and severity is None and pair is None
    if bare and not documents and _is_plain(label):
        place = target % len(turns)
        return _plain_row(sample_id, turns, (task, place, group), label.value)
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
