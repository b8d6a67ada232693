"""Sets that are joined by ``A+B``, so that a set of one class can be ranked.

Prompts that are all harmful have no AUROC. Harmless prompts of another set give one,
but a guard may then tell the two sources apart by their style: the mix goes with the
data, into notes and tables.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from safebench.errors import DataError
from safebench.isolation import isolated

from .expectations import check_expectations, require_revision
from .request import LoadReport

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .request import DatasetRequest, Example


def read_joined(request: DatasetRequest) -> Iterator[Example]:
    """Yield the examples of every part of a joined request.

    A sample keeps the name of its set as ``set`` of `gold_meta`. Raises `DataError` for
    parts of different tasks.
    """
    report = request.report
    parts = [replace(part, report=LoadReport()) for part in request.parts]
    examples = [_read(part) for part in parts]
    _refuse_repeated(request.name, parts, examples)
    if n_shared := _count_shared(examples):
        stand = "conversation stands" if n_shared == 1 else "conversations stand"
        report.notes.append(
            f"{request.name}: {n_shared:,} {stand} in more than one of its sets: each "
            "of its rows counts"
        )
    report.task = _common_task(request.name, parts)
    policies = {policy for part in parts if (policy := _policy(part))}
    report.policy = policies.pop() if len(policies) == 1 else None
    if policies:
        report.notes.append(
            f"{request.name}: its sets have different policies, so that categories are "
            "left out"
        )
    for part in parts:
        report.notes += part.report.notes
        report.skipped += part.report.skipped
        report.rows_read += part.report.rows_read
    report.revision = "+".join(part.report.revision or "unknown" for part in parts)
    report.licence = "; ".join(f"{p.name} {p.spec.licence}" for p in parts)
    report.contaminates = frozenset().union(*(p.spec.contaminates for p in parts))
    report.mix = ", ".join(
        f"{len(rows):,} of {part.label}"
        for part, rows in zip(parts, examples, strict=True)
    )
    for part, rows in zip(parts, examples, strict=True):
        for example in rows:
            yield _of_part(example, part, report.policy)


def _read(part: DatasetRequest) -> list[Example]:
    require_revision(part)
    with isolated(part.spec, pass_os_errors=True):
        examples = list(part.spec.code()(part))
    check_expectations(part, part.report)
    if not examples:
        raise DataError(f"no rows in dataset {part.label}")
    return examples


def _refuse_repeated(
    name: str, parts: Sequence[DatasetRequest], examples: Sequence[Sequence[Example]]
) -> None:
    """Raise `DataError` for rows that are joined twice, under whatever names.

    They would weigh twice in every metric that depends on the mix.
    """
    first_with: dict[tuple[object, ...], str] = {}
    for part, rows in zip(parts, examples, strict=True):
        content = tuple((_judged(row), row.label.value) for row in rows)
        if content in first_with:
            raise DataError(
                f"{name}: {part.label} holds the same rows as {first_with[content]}: "
                "name it once"
            )
        first_with[content] = part.label


def _count_shared(examples: Sequence[Sequence[Example]]) -> int:
    """Count the conversations that several sets judge at the same turn."""
    counts = Counter(judged for rows in examples for judged in {*map(_judged, rows)})
    return sum(n > 1 for n in counts.values())


def _judged(example: Example) -> tuple[object, ...]:
    return (example.turns, example.target, example.documents)


def _common_task(name: str, parts: Sequence[DatasetRequest]) -> str:
    tasks = {part.label: part.report.task or part.spec.task for part in parts}
    if len({*tasks.values()}) > 1:
        listed = ", ".join(f"{label} for {task}" for label, task in tasks.items())
        raise DataError(f"{name}: joined sets are labelled for one task ({listed})")
    return next(iter(tasks.values()))


def _policy(part: DatasetRequest) -> str | None:
    return part.report.policy or part.spec.policy


def _of_part(example: Example, part: DatasetRequest, policy: str | None) -> Example:
    """Return an example with names that no other part has."""
    categories = example.categories if policy == _policy(part) else None
    if policy and _policy(part) is None and example.label.value is False:
        categories = frozenset()  # harmless by any policy
    pair = example.pair and (f"{part.label}/{example.pair[0]}", example.pair[1])
    return replace(
        example,
        id=None if example.id is None else f"{part.label}/{example.id}",
        # without a group of its own a row belongs to its prompt, in whatever set
        group=f"{part.label}/{example.group}" if example.group else "",
        categories=categories,
        known=example.known if categories is not None else None,
        pair=pair,
        gold_meta={**example.gold_meta, "set": part.name},
    )
