"""Read the rows of a parquet file, with the names of classes that it stores.

Apart from `.formats`, by which `.class_names` parses what describes a folder.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError

from .class_names import column_names, name_rows, parquet_features

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .request import LoadReport

    RawRow = tuple[str, dict[str, Any]]


def parquet_rows(data: bytes, name: str, report: LoadReport) -> Iterator[RawRow]:
    """Yield (where, row) of each row; `where` is ``FILE[row]``.

    Raises `DataError` for what is no parquet file, and for two columns of one name.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read()
        features = parquet_features(table.schema.metadata)
        columns = Counter(table.column_names)
        rows = table.to_pylist() if table.num_columns == len(columns) else []
    except (pa.ArrowException, OSError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise DataError(f"{name}: not parquet ({problem:.120})") from None
    for column, times in columns.items():
        if times > 1:
            raise DataError(f"{name}: column {column!r} occurs twice")
    report.class_names |= column_names(features)
    for i, row in enumerate(name_rows(rows, features)):
        yield f"{name}[{i}]", row
