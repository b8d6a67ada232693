"""Any labelled set of the hub, its columns named by options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .problems import Problems
from .reading import read_rows
from .source import hub_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .example import Example, Request


def read(request: Request) -> Iterator[Example]:
    """Yield the rows of ``org/name``; raise `DataError` for rows that make no sense."""
    name = f"{request.source}:{request.split}"
    problems = Problems(name, skip=request.on_bad_row == "skip")
    yield from read_rows(hub_rows(request), name, request, problems)
