"""Parquet is read batch by batch, to the rows that reading all of it gives."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import subprocess
import sys
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from safebench.datasets import hub_rows, parquet_rows
from safebench.datasets.hub_rows import PlacedRows, TableRows
from safebench.datasets.parquet_rows import ParquetRows
from safebench.datasets.request import LoadReport
from safebench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

N = 23
TURNS = [{"role": "user", "content": "hé"}, {"role": "assistant", "content": None}]


def odd_table() -> Any:
    """Return columns of every kind that files have, with nulls in each."""
    words = pa.array([None if i % 5 == 0 else f"w{i % 3}" for i in range(N)])
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, 678, dt.UTC)
    numbers = [None if i == 3 else Decimal(f"{i}.25") for i in range(N)]
    turns = [None if i == 4 else TURNS[: i % 3] for i in range(N)]
    times = [None if i == 2 else moment for i in range(N)]
    large = [None if i == 1 else "x" * i for i in range(N)]
    return pa.table(
        {
            "words": words.dictionary_encode(),
            "large": pa.array(large, pa.large_string()),
            "bytes": pa.array([bytes([i]) for i in range(N)], pa.binary()),
            "time": pa.array(times, pa.timestamp("us", tz="UTC")),
            "day": pa.array([moment.date()] * N),
            "price": pa.array(numbers, pa.decimal128(9, 2)),
            "messages": pa.array(turns),
            "pair": pa.array([{"a": {"b": [i]}} for i in range(N)]),
            "float": pa.array([float("nan"), *range(1, N)], pa.float32()),
            "none": pa.nulls(N),
        }
    )


def rows_of(path: Path, *, packed: bool = False) -> ParquetRows:
    """Return the rows of a file."""
    open_file = partial(gzip.open if packed else open, path, "rb")
    return ParquetRows(open_file, "f", LoadReport(), packed=packed)


@pytest.mark.parametrize("group", [N, 5])
@pytest.mark.parametrize("packed", [False, True])
def test_rows_are_those_of_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int, packed: bool
) -> None:
    """Each time that they are gone through; the hash is that of the unpacked bytes."""
    monkeypatch.setattr(parquet_rows, "ROWS_AT_ONCE", 4)
    path = tmp_path / "rows.parquet"
    pq.write_table(odd_table(), path, row_group_size=group)
    content = path.read_bytes()
    expected = [(f"f[{i}]", row) for i, row in enumerate(odd_table().to_pylist())]
    if packed:
        path.write_bytes(gzip.compress(content))

    rows = rows_of(path, packed=packed)

    for _ in range(2):
        assert [repr(row) for row in expected] == [repr(row) for row in rows]
    assert hashlib.sha256(content).hexdigest() == rows.sha256


def test_a_damaged_page_is_told_in_one_line(tmp_path: Path) -> None:
    """The footer is right, and the rows cannot be read."""
    path = tmp_path / "rows.parquet"
    texts = [str(hash((i, "x"))) for i in range(2000)]
    pq.write_table(pa.table({"prompt": texts}), path, compression="gzip")
    content = bytearray(path.read_bytes())
    content[200:1200] = bytes(1000)
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"^f: not parquet \(") as refused:
        list(rows_of(path))
    assert "\n" not in refused.value.message


CODE = """
import sys
from functools import partial
from safebench.datasets.parquet_rows import ParquetRows
from safebench.datasets.request import LoadReport

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith("VmHWM"))

peaks = []
for name in sys.argv[1:]:
    rows = ParquetRows(partial(open, name, "rb"), name, LoadReport(), packed=False)
    for _ in rows:
        pass
    peaks.append(peak())
print((peaks[1] - peaks[0]) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_one_huge_row_group_is_never_held(tmp_path: Path) -> None:
    """In a process of its own: read whole, rows take more than the file."""
    for name, n in (("few", 500), ("many", 30_000)):
        texts = [hashlib.sha256(b"%d" % i).hexdigest() * 20 for i in range(n)]
        table = pa.table({"prompt": texts})
        path = tmp_path / name
        pq.write_table(table, path, compression="none", use_dictionary=False)

    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "few"), str(tmp_path / "many")],
        capture_output=True,
        text=True,
        check=True,
    )

    assert int(done.stdout) < (tmp_path / "many").stat().st_size / 2


@pytest.mark.slow
def test_rows_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it gives them one by one, with the names of classes, at their places."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(hub_rows, "_AT_ONCE", 3)
    content = {
        "label": [0, 1, -1, 1],
        "turns": [[{"role": "user", "n": 1}], [], [{"role": "x", "n": None}], []],
        "when": [dt.date(2026, 1, 2)] * 4,
    }
    table = datasets.Dataset.from_dict(content)
    classes = {"label": {"_type": "ClassLabel", "names": ["fine", "bad"]}}
    names = ["fine", "bad", None, "bad"]
    expected = [dict(table[i]) | {"label": names[i]} for i in range(4)]

    rows = PlacedRows(TableRows(table, classes), "set:test")

    assert len(rows) == 4
    assert expected == [dict(row) for _, row in rows] == [dict(r) for _, r in rows[:]]
    assert ["set:test[0]", "set:test[3]"] == [rows[0][0], rows[-1][1].where]
