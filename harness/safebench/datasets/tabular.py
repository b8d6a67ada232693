"""Read all rows of one source, a file or a hub set, with one message for all bad rows.

`read_rows` picks the reader that fits the source (plain rows or preference pairs, and
which task) and applies it. `RowErrors` collects what could not be read: a user who has
to fix a file wants to see every problem at once.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError

from .preference_rows import PAIR_TASK, PairRowReader, has_pairs
from .rows import BadRowError, ColumnOptions, RowReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .request import DatasetRequest, Example, LoadReport

    RawRow = tuple[str, dict[str, Any]]


MAX_SHOWN_ERRORS = 10


class RowErrors:
    """The bad rows of one source: fatal, or with `skip` recorded and left out."""

    def __init__(self, name: str, *, skip: bool) -> None:
        self.name = name
        self.skip = skip
        self.errors: list[tuple[str, str]] = []

    def add(self, where: str, problem: str) -> None:
        """Add the problem of the row at `where` (``FILE:LINE`` or ``hub-id[row]``)."""
        self.errors.append((where, problem))

    def raise_or_record(self, report: LoadReport, usable: int) -> None:
        """Raise `DataError` for bad rows, or with `skip` add them to `report.skipped`.

        `usable` counts the good rows: if there are none, skipping does not help.
        """
        # Parsing errors were added before errors of content: put them in file order.
        self.errors.sort(key=lambda error: _line_order(error[0]))
        if self.errors and not self.skip:
            raise DataError(self._message())
        if not usable:
            raise DataError(
                f"no usable rows in {self.name}: all {len(self.errors)} are bad"
                f"\n{format_errors(self.errors)}"
            )
        report.skipped += self.errors

    def _message(self) -> str:
        advice = "--on-bad-row skip leaves bad rows out and counts them"
        if len(self.errors) == 1:
            where, problem = self.errors[0]
            return f"{where}: {problem} ({advice})"
        return (
            f"{self.name}: {len(self.errors)} rows cannot be read; {advice}"
            f"\n{format_errors(self.errors)}"
        )


def format_errors(errors: Sequence[tuple[str, str]]) -> str:
    """Return the first errors (where, problem) as lines, and a count of the rest."""
    lines = [f"  {where}: {problem}" for where, problem in errors[:MAX_SHOWN_ERRORS]]
    if len(errors) > MAX_SHOWN_ERRORS:
        lines.append(f"  and {len(errors) - MAX_SHOWN_ERRORS} more")
    return "\n".join(lines)


def summarise_errors(errors: Sequence[tuple[str, str]]) -> str:
    """Return few errors line by line, and many as counts of the same problem."""
    if len(errors) <= MAX_SHOWN_ERRORS:
        return format_errors(errors)
    first: dict[str, str] = {}
    for where, problem in errors:
        first.setdefault(problem, where)
    counts = Counter(problem for _, problem in errors).most_common(MAX_SHOWN_ERRORS)
    lines = [f"  {n} x {problem} (first: {first[problem]})" for problem, n in counts]
    rest = len(errors) - sum(n for _, n in counts)
    return "\n".join([*lines, f"  and {rest} more"] if rest else lines)


def _line_order(where: str) -> tuple[str, int]:
    """Sort FILE:9 before FILE:10."""
    name, _, number = where.rpartition(":")
    return (name, int(number)) if number.isdigit() else (where, 0)


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
    if isinstance(response, str):
        return response
    messages = row.get(columns["messages"])
    last = messages[-1] if isinstance(messages, list) and messages else None
    if isinstance(last, dict) and last.get("role") == "assistant":
        return str(last.get("content"))
    return None
