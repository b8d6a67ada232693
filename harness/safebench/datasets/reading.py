"""From raw rows to examples: the reader that fits them, every bad row named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.errors import DataError

from .pair_rows import TASK, PairReader, holds_pairs
from .rows import BadRowError, ColumnOptions, RowReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .example import Example, Request
    from .problems import Problems

    Raw = tuple[str, dict[str, Any]]


def read_rows(
    rows: Sequence[Raw],
    name: str,
    request: Request,
    problems: Problems,
    keep: tuple[str, ...] = (),
) -> Iterator[Example]:
    """Yield examples from raw (where, row) pairs; raise one `DataError` for all."""
    if not rows and not problems.found:
        raise DataError(f"no rows in {name}")
    reader = _reader(rows, name, request, keep)
    if rows and (lacking := reader.lacking([row for _, row in rows])):
        raise DataError(f"{name}: {lacking}")
    request.ledger.task = reader.task
    request.ledger.policy = reader.policy.id if reader.policy else None
    first: dict[str, str] = {}
    examples: list[Example] = []
    for where, row in rows:
        try:
            found = reader.examples(row, where)
            own = reader.id_of(row)
            if own is not None and first.setdefault(own, where) != where:
                raise BadRowError(f"id {own!r} repeats {first[own]}")  # noqa: TRY301
        except BadRowError as error:
            problems.add(where, str(error))
        else:
            examples += found
    problems.settle(request.ledger, usable=len(examples))
    yield from examples


def _reader(
    rows: Sequence[Raw], name: str, request: Request, keep: tuple[str, ...]
) -> RowReader:
    from safebench.policies import load_policy

    options = request.options or ColumnOptions()
    columns = ColumnOptions().columns | options.columns | request.columns
    if request.spec.policy is not None:  # a named set: its spec decides
        fixed = load_policy(request.spec.policy)
        return RowReader(columns, request.spec.task, request.label_map, fixed, keep)
    if holds_pairs([row for _, row in rows], columns):
        return _pair_reader(name, request, columns, options.task)
    task: str = options.task
    if task == "auto":
        try:
            task = choose_task(rows, columns)
        except BadRowError as error:
            raise DataError(f"{name}: {error}") from None
    annotated = any(row.get(columns["categories"]) is not None for _, row in rows)
    wanted = annotated and options.policy != "none"
    policy = load_policy(options.policy) if wanted else None
    return RowReader(columns, task, request.label_map, policy, keep)


def _pair_reader(
    name: str, request: Request, columns: dict[str, str], task: str
) -> PairReader:
    if task not in ("auto", TASK):
        raise DataError(
            f"{name}: its rows are pairs of responses, labelled for {TASK}, not {task}"
        )
    # The same name wherever the file lies, another one for another file of that name.
    version = request.ledger.revision.rpartition(":")[2][:6]

    def name_pair(where: str) -> str:
        return f"{request.name}{where.removeprefix(name)}@{version}"

    return PairReader(columns, request.label_map, name_pair)


def choose_task(
    rows: Sequence[tuple[str, Mapping[str, Any]]], columns: Mapping[str, str]
) -> str:
    """Return response_harm if the rows have responses, else prompt_harm.

    Rows (where, row) that mix both raise `BadRowError`: a file has one task.
    """
    responses = [(where, _response(row, columns)) for where, row in rows]
    having = [where for where, response in responses if response is not None]
    without = [where for where, response in responses if response is None]
    if not any(response and response.strip() for _, response in responses):
        return "prompt_harm"
    if without:
        raise BadRowError(
            f"rows with a response ({len(having)}, first {having[0]}) and without "
            f"({len(without)}, first {without[0]}), but a file has one task; append "
            ",task=prompt_harm to the name to judge prompts alone, or split the file"
        )
    return "response_harm"


def _response(row: Mapping[str, Any], columns: Mapping[str, str]) -> str | None:
    response = row.get(columns["response"])
    if isinstance(response, str):
        return response
    messages = row.get(columns["messages"])
    last = messages[-1] if isinstance(messages, list) and messages else None
    if isinstance(last, dict) and last.get("role") == "assistant":
        return str(last.get("content"))
    return None
