"""Read the rows of a parquet file, with the names of classes that it stores.

A file is gone through each time that its rows are, a batch at a time: neither a large
file nor a large row group is ever held.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError
from safebench.files import open_parquet

from .class_names import column_names, name_rows, parquet_features

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    import pyarrow.parquet as pq

    from .class_names import Features
    from .request import LoadReport
    from .text_stream import Open

    RawRow = tuple[str, dict[str, Any]]

ROWS_AT_ONCE = 1024  # that are objects


class ParquetRows:
    """The rows of a parquet file, as (where, row); `where` is ``FILE[row]``.

    `open_file` opens the file, unpacked; one that is `packed` is unpacked to a
    temporary file, since parquet is read from its end. After the first time `sha256` is
    that of all bytes (hex). Raises `DataError` for what is no parquet file, and for two
    columns of one name.
    """

    def __init__(
        self, open_file: Open, name: str, report: LoadReport, *, packed: bool
    ) -> None:
        self._open, self._name, self._report = open_file, name, report
        self._unpacked: BinaryIO | None = None
        if packed:
            self._unpacked = _unpacked(open_file)
            weakref.finalize(self, self._unpacked.close)
        self.sha256 = ""

    def __iter__(self) -> Iterator[RawRow]:
        with self._bytes() as file:
            if not self.sha256:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                file.seek(0)
            with _parquet_errors(self._name):
                yield from self._rows(file)
        self.sha256 = self.sha256 or digest

    @contextmanager
    def _bytes(self) -> Iterator[Any]:
        if self._unpacked is None:
            with self._open() as file:
                yield file
        else:
            self._unpacked.seek(0)
            yield self._unpacked

    def _rows(self, file: BinaryIO) -> Iterator[RawRow]:
        with open_parquet(file) as parquet:
            features = self._features(parquet)
            number = 0
            for batch in parquet.iter_batches(ROWS_AT_ONCE):
                for row in name_rows(batch.to_pylist(), features):
                    yield f"{self._name}[{number}]", row
                    number += 1

    def _features(self, parquet: pq.ParquetFile) -> Features:
        """Return what the library stored of the columns, and note names of classes."""
        schema = parquet.schema_arrow
        for column, times in Counter(schema.names).items():
            if times > 1:
                raise DataError(f"{self._name}: column {column!r} occurs twice")
        features = parquet_features(schema.metadata)
        self._report.class_names |= column_names(features)
        return features


def _unpacked(open_file: Open) -> BinaryIO:
    target: BinaryIO = tempfile.TemporaryFile(prefix="safebench-")  # noqa: SIM115
    with open_file() as file:
        shutil.copyfileobj(file, target)
    return target


@contextmanager
def _parquet_errors(name: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise DataError(f"{name}: not parquet ({problem:.120})") from None
