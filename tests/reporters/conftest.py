"""Rows for tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from safebench.results import Row
from safebench.testing.result_rows import result_row

Rows = Callable[..., list[Row]]
LOWER = {"fpr", "brier"}


@pytest.fixture
def rows() -> Rows:
    """Return a function: rows of one combination from metric=value pairs."""

    def _rows(values: dict[str, float | None], **fields: Any) -> list[Row]:
        return [
            result_row(
                **fields, metric=name, value=value, higher_is_better=name not in LOWER
            )
            for name, value in values.items()
        ]

    return _rows
