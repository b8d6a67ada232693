"""Read all rows of one source, a file or a hub set, with one message for all bad rows.

`read_rows` picks the reader that fits the source (plain rows or preference pairs, and
which task) and applies it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.errors import DataError

from .messages import message_list
from .preference_rows import PAIR_TASK, PairRowReader, has_pairs
from .request import BadRowError
from .rows import ColumnOptions, RowReader, is_missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .request import DatasetRequest, Example
    from .row_errors import RowErrors

    RawRow = tuple[str, dict[str, Any]]


def read_rows(
    rows: Sequence[RawRow],
    name: str,
    request: DatasetRequest,
    errors: RowErrors,
    extra_columns: tuple[str, ...] = (),
) -> Iterator[Example]:
    """Yield the examples of raw (where, row) pairs.

    `errors` holds what the caller could not parse. Raises one `DataError` for all bad
    rows, for a missing column, and for a source without rows.
    """
    if not rows and not errors.errors:
        raise DataError(f"no rows in {name}")
    reader = _choose_reader(rows, name, request, extra_columns)
    # Said once about the source rather than again for each of its rows.
    if rows and (problem := reader.missing_columns([row for _, row in rows])):
        raise DataError(f"{name}: {problem}")
    contents = [row for _, row in rows]
    # Rows without a meaning may be skipped; a direction in doubt concerns all rows.
    problem = reader.contradicting_labels(contents)
    if not (problem or errors.skip):
        problem = reader.unclear_labels(contents)
    if problem:
        raise DataError(f"{name}: {problem}")
    request.report.task = reader.task
    request.report.policy = reader.policy.id if reader.policy else None
    first_with_id: dict[str, str] = {}
    examples: list[Example] = []
    for where, row in rows:
        try:
            row_examples = reader.examples(row, where)
        except BadRowError as error:
            errors.add(where, str(error))
            continue
        row_id = reader.row_id(row)
        if row_id is not None and first_with_id.setdefault(row_id, where) != where:
            errors.add(where, f"id {row_id!r} repeats {first_with_id[row_id]}")
            continue
        examples += row_examples
    errors.raise_or_record(request.report, usable=len(examples))
    if note := reader.assumed_labels(contents):
        request.report.notes.append(f"{name}: {note}")
    yield from examples


def _choose_reader(
    rows: Sequence[RawRow],
    name: str,
    request: DatasetRequest,
    extra_columns: tuple[str, ...],
) -> RowReader:
    from safebench.policies import load_policy

    options = request.options or ColumnOptions()
    columns = ColumnOptions().columns | options.columns | request.columns
    task: str
    if request.spec.policy is not None:  # a set of the catalog: its spec decides
        task, policy = request.spec.task, load_policy(request.spec.policy)
        return RowReader(columns, task, request.label_map, policy, extra_columns)
    if has_pairs([row for _, row in rows], columns):
        return _pair_reader(name, request, columns, options.task)
    task = options.task
    if task == "auto":
        try:
            task = infer_task(rows, columns)
        except BadRowError as error:
            raise DataError(f"{name}: {error}") from None
    # Without any annotation a policy would claim that all categories are absent.
    annotated = any(row.get(columns["categories"]) is not None for _, row in rows)
    use_policy = annotated and options.policy != "none"
    return RowReader(
        columns,
        task,
        request.label_map,
        load_policy(options.policy) if use_policy else None,
        extra_columns,
        request.report.class_names.get(columns["label"], ()),
    )


def _pair_reader(
    name: str, request: DatasetRequest, columns: dict[str, str], task: str
) -> PairRowReader:
    if task not in ("auto", PAIR_TASK):
        raise DataError(
            f"{name}: its rows are pairs of responses, labelled for {PAIR_TASK}, not "
            f"{task}"
        )
    # The fingerprint of the content, so that ids do not depend on where the file lies
    # and two files of one name in different folders do not share pairs.
    fingerprint = request.report.revision.rpartition(":")[2][:6]

    def pair_id(where: str) -> str:
        return f"{request.name}{where.removeprefix(name)}@{fingerprint}"

    return PairRowReader(columns, request.label_map, pair_id)


def infer_task(
    rows: Sequence[tuple[str, Mapping[str, Any]]], columns: Mapping[str, str]
) -> str:
    """Return response_harm if the rows (where, row) have responses, else prompt_harm.

    Raises `BadRowError` for a mixture: a source has one task.
    """
    responses = [(where, _response_text(row, columns)) for where, row in rows]
    with_response = [where for where, response in responses if response is not None]
    without = [where for where, response in responses if response is None]
    if not any(response and response.strip() for _, response in responses):
        return "prompt_harm"
    if without:
        raise BadRowError(
            f"rows with a response ({len(with_response)}, first {with_response[0]}) "
            f"and without ({len(without)}, first {without[0]}), but a file has one "
            "task; append ,task=prompt_harm to the name to judge prompts alone, or "
            "split the file"
        )
    return "response_harm"


def _response_text(row: Mapping[str, Any], columns: Mapping[str, str]) -> str | None:
    response = row.get(columns["response"])
    if not is_missing(response):
        return str(response)
    messages = row.get(columns["messages"])
    try:
        last = message_list(messages)[-1:] if messages else []
    except BadRowError:  # said again, with its place, when the row is read
        return None
    if last and isinstance(last[0], dict) and last[0].get("role") == "assistant":
        return str(last[0].get("content"))
    return None
