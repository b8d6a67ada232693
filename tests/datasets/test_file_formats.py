"""The forms of a file: JSON arrays, TSV, other separators, parquet, packed files."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
from typing import TYPE_CHECKING, Any

import pytest

from safebench.datasets import files
from safebench.datasets.loader import load_dataset
from safebench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.datasets import DatasetRequest
    from safebench.records import Dataset

    Load = Callable[..., Dataset]
    ErrorMessage = Callable[..., str]
    Resolve = Callable[..., DatasetRequest]

ROWS = [
    {"prompt": "hello, world; you\tthere", "label": "safe"},
    {"prompt": 'a "quoted"\nline', "label": "unsafe"},
    {"prompt": "caf\u00e9 \u2028", "label": "safe"},
]
EXPECTED = [(row["prompt"], row["label"] == "unsafe") for row in ROWS]


def table(separator: str, rows: list[dict[str, str]] = ROWS) -> str:
    """Return rows as separated values, every cell in quotes."""
    header = separator.join(rows[0])
    cells = [
        separator.join('"' + cell.replace('"', '""') + '"' for cell in row.values())
        for row in rows
    ]
    return "\n".join([header, *cells]) + "\n"


def parquet(rows: list[dict[str, Any]]) -> bytes:
    """Return the bytes of a parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue())


LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
FORMS = {
    "lines.jsonl": LINES.encode(),
    "lines.ndjson": LINES.encode(),
    "lines.json": LINES.encode(),
    "array.json": json.dumps(ROWS).encode(),
    "pretty.json": b"\xef\xbb\xbf \n" + json.dumps(ROWS, indent=2).encode(),
    "array.jsonl": json.dumps(ROWS, indent=1).encode(),
    "comma.csv": table(",").encode(),
    "semicolon.csv": table(";").encode(),
    "tab.csv": table("\t").encode(),
    "pipe.CSV": table("|").encode(),
    "tab.tsv": table("\t").encode(),
    "comma.tsv": table(",").encode(),
    "blank.csv": b"\r\n\n" + table(";").encode(),
    "excel.csv": b"sep=;\r\n" + table(";").replace("\n", "\r\n").encode(),
    "utf16.csv": table("\t").encode("utf-16"),
    "rows.parquet": parquet(ROWS),
    "rows.PARQUET": parquet(ROWS),
}
PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def content(dataset: Dataset) -> list[tuple[str, bool | None]]:
    """Return prompts and classes in order."""
    return [
        (sample.judged.text.replace("\r\n", "\n"), truth.label.value)
        for sample, truth in zip(dataset.samples, dataset.ground_truth, strict=True)
    ]


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_a_file_gives_the_same_rows(
    load: Load, tmp_path: Path, name: str
) -> None:
    """What stands in the rows does not depend on how they are written."""
    path = tmp_path / name
    path.write_bytes(FORMS[name])

    assert EXPECTED == content(load(str(path)))


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize(
    "name", ["lines.jsonl", "array.json", "semicolon.csv", "tab.tsv", "rows.parquet"]
)
def test_a_packed_file_is_what_it_holds(
    load: Load, tmp_path: Path, name: str, suffix: str
) -> None:
    """The revision is that of the content, which does not depend on the packing."""
    plain, packed = tmp_path / name, tmp_path / f"{name}{suffix}"
    plain.write_bytes(FORMS[name])
    packed.write_bytes(PACKERS[suffix](FORMS[name]))

    dataset = load(str(packed))

    assert EXPECTED == content(dataset)
    assert load(str(plain)).revision == dataset.revision


@pytest.mark.parametrize("name", ["lines.jsonl", "comma.csv", "tab.csv"])
@pytest.mark.parametrize("is_longer", [True, False])
def test_a_file_that_is_written_to_while_it_is_read_is_refused(
    load: Load,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    is_longer: bool,
) -> None:
    """Its rows would be others than those whose hash stands in the results."""
    path, survey_rows = tmp_path / name, files.survey_rows
    path.write_bytes(FORMS[name])

    def survey(*words: Any) -> Any:
        survey = survey_rows(*words)
        end = b"\n" if is_longer else b""
        path.write_bytes(FORMS[name].replace(b"hello", b"hallo") + end)
        os.utime(path, ns=(0, 0))  # a clock may tick seldom
        return survey

    monkeypatch.setattr(files, "survey_rows", survey)
    with pytest.raises(DataError, match="changed while it was read"):
        load(str(path))


@pytest.mark.parametrize(
    ("name", "separator"),
    [
        ("semicolon.csv", "semicolon"),
        ("tab.csv", "tab"),
        ("pipe.CSV", "pipe"),
        ("comma.tsv", "comma"),
        ("comma.csv", None),
        ("tab.tsv", None),
        ("excel.csv", None),
    ],
)
def test_an_unexpected_separator_is_said(
    resolve: Resolve, tmp_path: Path, name: str, separator: str | None
) -> None:
    """One line for a separator that neither the suffix nor the file promises."""
    path = tmp_path / name
    path.write_bytes(FORMS[name])
    said: list[str] = []

    load_dataset(resolve(str(path)), say=said.append)

    if separator is None:
        assert [] == said
    else:
        note = f"read with the separator {separator} (sep=NAME says another)"
        assert [f"{path}: {note}"] == said


@pytest.mark.parametrize(
    ("option", "separator"),
    [
        ("semicolon", ";"),
        (";", ";"),
        ("comma", ","),
        ("tab", "\t"),
        ("\\t", "\t"),
        ("pipe", "|"),
        ("^", "^"),
        (":", ":"),
    ],
)
def test_a_separator_can_be_told(
    load: Load, tmp_path: Path, option: str, separator: str
) -> None:
    """A name or a character; columns may have any names."""
    rows = [{"question": row["prompt"], "harm": row["label"]} for row in ROWS]
    path = tmp_path / "set.csv"
    path.write_text(table(separator, rows))

    dataset = load(f"{path},sep={option},prompt=question,label=harm")

    assert EXPECTED == content(dataset)


def test_the_separator_goes_by_the_columns_that_the_user_names(
    load: Load, tmp_path: Path
) -> None:
    """A comma within a column's name does not make a table of commas."""
    path = tmp_path / "set.csv"
    path.write_text("no, id;question;verdict\n1;hello, you;safe\n2;bomb, now;unsafe\n")

    dataset = load(f"{path},prompt=question,label=verdict")

    assert [("hello, you", False), ("bomb, now", True)] == content(dataset)


@pytest.mark.parametrize("option", ["semicolonn", "ab", '"', "a", "1", ""])
def test_a_separator_that_can_be_none_is_refused(
    error_message: ErrorMessage, tmp_path: Path, option: str
) -> None:
    """One line names the words that there are."""
    path = tmp_path / "set.csv"
    path.write_text(table(";"))

    message = error_message(f"{path},'sep={option}'".replace("'", ""))

    assert "comma, semicolon, tab, pipe" in message
    assert 1 == len(message.splitlines())


@pytest.mark.parametrize("name", ["lines.jsonl", "array.json", "rows.parquet"])
def test_a_separator_of_something_else_is_refused(
    error_message: ErrorMessage, tmp_path: Path, name: str
) -> None:
    """It would be ignored in silence."""
    (tmp_path / name).write_bytes(FORMS[name])

    assert "sep= is for CSV and TSV files" in error_message(f"{tmp_path / name},sep=;")


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ('{"prompt": "x", "label": 0, "label": 1}', "label"),
        ('{"prompt": "x", "prompt": "y", "label": 1}', "prompt"),
        ('{"prompt": "x", "label": 1, "m": {"a": 1, "a": 1}}', "a"),
        ('{"prompt": "x", "label": 1, "id": "1", "\\u0069d": "2"}', "id"),
    ],
)
@pytest.mark.parametrize("form", ["{}", "[{}]", "[\n{}\n]"])
def test_a_key_that_occurs_twice_is_refused(
    error_message: ErrorMessage, tmp_path: Path, row: str, key: str, form: str
) -> None:
    """Which of two labels is meant cannot be known."""
    path = tmp_path / "set.json"
    path.write_text(form.replace("{}", row))

    message = error_message(str(path))

    assert f"the key {key!r} occurs twice in one object" in message
    assert message.startswith(str(path))


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("a.json", b'[{"prompt": "x", "label": 0},\n{"prompt" "y"}]', "a.json:2: not"),
        ("a.json", b'[{"prompt": "x", "label": 0}, 3]', "a.json[1]: not a JSON object"),
        ("a.json", b'{\n "data": [{"prompt": "x"}]\n}', "no column 'prompt'"),
        ("a.json", b"[" * 100_000, "recursion"),
        ("a.json", b"[]", "no rows in"),
        ("a.jsonl", b'["x", 0]\n["y", 1]\n', "not a JSON object"),
        ("a.json", b'[{"prompt": "\xff", "label": 0}]', "not UTF-8"),
        ("a.jsonl.gz", b"plain", "not a gzip"),
        ("a.jsonl.gz", gzip.compress(b"x" * 9999, mtime=0)[:20], "cannot be unpacked"),
        ("a.csv.xz", b"plain", "cannot be unpacked"),
        ("a.csv.bz2", b"plain", "cannot be read"),
        ("a.jsonl", gzip.compress(LINES.encode(), mtime=0), "let its name end in .gz"),
        ("a.csv", b"PK\x03\x04....", "save it as .csv"),
        ("a.parquet", b"PAR1 nothing", "not parquet"),
        ("a.parquet", b"{}", "not parquet"),
        ("a.csv", parquet(ROWS), "let its name end in .parquet"),
        ("a.parquet", parquet([]), "no rows in"),
        ("a.tsv", b"prompt\tlabel\nx\t0\ty\n", "3 fields, the header has 2"),
    ],
)
def test_a_file_that_is_something_else_is_one_line(
    error_message: ErrorMessage, tmp_path: Path, name: str, data: bytes, problem: str
) -> None:
    """What, where, and what would work."""
    (tmp_path / name).write_bytes(data)

    message = error_message(str(tmp_path / name))

    assert problem in message
    assert name in message


def test_two_parquet_columns_of_one_name_are_refused(
    error_message: ErrorMessage, tmp_path: Path
) -> None:
    """One of them would be lost."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [pa.array(["x"]), pa.array([0]), pa.array([1])]
    path = tmp_path / "set.parquet"
    pq.write_table(
        pa.Table.from_arrays(columns, names=["prompt", "label", "label"]), path
    )

    assert "column 'label' occurs twice" in error_message(str(path))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 0, None], [True, False, None]),
        ([1.0, 0.0, float("nan")], [True, False, None]),
        ([True, False, None], [True, False, None]),
        (["unsafe", "safe", ""], [True, False, None]),
    ],
)
def test_labels_of_every_parquet_type_are_read(
    load: Load, tmp_path: Path, values: list[Any], expected: list[bool | None]
) -> None:
    """Integers, floats with gaps, booleans, words; pandas categories, too."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    labels = pa.array(values)
    for name, column in (("plain", labels), ("category", labels.dictionary_encode())):
        path = tmp_path / f"{name}.parquet"
        prompts = [f"text {i}" for i in range(3)]
        pq.write_table(pa.table({"prompt": prompts, "label": column}), path)

        truths = load(str(path)).ground_truth

        assert expected == [truth.label.value for truth in truths]
