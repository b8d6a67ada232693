"""Read all rows of one source, a file or a hub set, with one message for all bad rows.

`read_rows` picks the reader that fits the source (plain rows or preference pairs, and
which task) and applies it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.errors import DataError

from .preference_rows import PAIR_TASK, PairRowReader, has_pairs
from .request import BadRowError
from .row_survey import survey_rows
from .rows import ColumnOptions, RowReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .request import DatasetRequest, Example
    from .row_errors import RowErrors
    from .row_survey import Responses, Survey

    RawRow = tuple[str, dict[str, Any]]


def read_rows(
    rows: Iterable[RawRow],
    name: str,
    request: DatasetRequest,
    errors: RowErrors,
    extra_columns: tuple[str, ...] = (),
) -> Iterator[Example]:
    """Yield the examples of raw (where, row) pairs, which are gone through twice.

    `errors` holds what the caller could not parse. Raises one `DataError` for all bad
    rows, after the good ones, and for a missing column or a source without rows.
    """
    survey = survey_rows(rows, request)
    yield from read_surveyed(rows, survey, name, request, errors, extra_columns)


def read_surveyed(
    rows: Iterable[RawRow],
    survey: Survey,
    name: str,
    request: DatasetRequest,
    errors: RowErrors,
    extra_columns: tuple[str, ...] = (),
) -> Iterator[Example]:
    """Yield the examples of rows whose survey is known, as `read_rows` does."""
    if not survey.n and not errors.errors:
        raise DataError(f"no rows in {name}")
    reader = _choose_reader(survey, name, request, extra_columns)
    # Said once about the source rather than again for each of its rows.
    kinds = survey.kinds
    if kinds and (problem := reader.missing_columns(kinds)):
        raise DataError(f"{name}: {problem}")
    # Rows without a meaning may be skipped; a direction in doubt concerns all rows.
    problem = reader.contradicting_labels(kinds)
    if not (problem or errors.skip):
        problem = reader.unclear_labels(kinds)
    if problem:
        raise DataError(f"{name}: {problem}")
    request.report.task = reader.task
    request.report.policy = reader.policy.id if reader.policy else None
    first_with_id: dict[str, str] = {}
    n_usable = 0
    for where, row in rows:
        try:
            row_examples = reader.examples(row, where)
        except BadRowError as error:
            errors.add(where, str(error))
            continue
        # few ids occur twice, and all of them would fill the memory
        row_id = reader.row_id(row) if survey.repeated_ids else None
        if row_id is not None and hash(row_id) not in survey.repeated_ids:
            row_id = None
        if row_id is not None and first_with_id.setdefault(row_id, where) != where:
            errors.add(where, f"id {row_id!r} repeats {first_with_id[row_id]}")
            continue
        n_usable += len(row_examples)
        yield from row_examples
    errors.raise_or_record(request.report, usable=n_usable)
    if note := reader.assumed_labels(kinds):
        request.report.notes.append(f"{name}: {note}")


def _choose_reader(
    survey: Survey,
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
    if has_pairs(survey.kinds, columns):
        return _pair_reader(name, request, columns, options.task)
    task = options.task
    if task == "auto":
        try:
            task = infer_task(survey.responses)
        except BadRowError as error:
            raise DataError(f"{name}: {error}") from None
    # Without any annotation a policy would claim that all categories are absent.
    annotated = any(row.get(columns["categories"]) is not None for row in survey.kinds)
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


def infer_task(responses: Responses) -> str:
    """Return response_harm if the rows of a source have responses, else prompt_harm.

    Raises `BadRowError` for a mixture: a source has one task.
    """
    if not responses.any_text:
        return "prompt_harm"
    if responses.n_without:
        raise BadRowError(
            f"rows with a response ({responses.n_with}, first {responses.first_with}) "
            f"and without ({responses.n_without}, first {responses.first_without}), "
            "but a file has one task; append ,task=prompt_harm to the name to judge "
            "prompts alone, or split the file"
        )
    return "response_harm"
