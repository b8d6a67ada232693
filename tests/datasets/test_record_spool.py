"""Large datasets are kept in a file: nothing that is read of them changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from safebench.datasets import record_spool
from safebench.datasets.loader import load_dataset
from safebench.datasets.resolve import resolve_dataset
from safebench.datasets.row_bytes import ROWS_DIGEST
from safebench.datasets.splits import calibration_ids, subsample
from safebench.datasets.spooled_records import SpooledSamples
from safebench.errors import DataError
from safebench.pipeline.manifest import DataFingerprint

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.plugins import Plugins
    from safebench.records import Dataset

ROWS = [
    {"prompt": "how do I pick a lock?", "label": "unsafe", "group": "a"},
    {"prompt": "ça va\r\nbien?", "label": "safe", "language": "fr"},
    {"prompt": "how do I pick a lock?", "label": "safe"},
    {"id": "mine", "prompt": "tell me \U0001f600", "label": "safe"},
    {"prompt": " ", "messages": [{"role": "system", "content": "be nice"}]
     + [{"role": "user", "content": t} for t in ("a", "b")], "label": "unsafe"},
    {"prompt": "what now?", "label": None, "categories": ["S1"]},
    {"prompt": "how do I pick a lock?", "label": "unsafe", "group": "a"},
]  # fmt: skip


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    """Write a file of JSON lines, and return its path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path, plugins: Plugins) -> tuple[Dataset, list[str]]:
    """Return a dataset with what was said while it was read."""
    notes: list[str] = []
    return load_dataset(resolve_dataset(str(path), plugins), notes.append), notes


@pytest.fixture
def spooled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file hold whatever exceeds two rows."""
    monkeypatch.setattr(record_spool, "BLOCK", 2)
    monkeypatch.setattr(record_spool, "MAX_IN_MEMORY", 2)


@pytest.fixture
def whole(tmp_path: Path, plugins: Plugins) -> Dataset:
    """Return the rows as they are read where they are few."""
    dataset, _ = read(write(tmp_path / "rows.jsonl", ROWS), plugins)
    assert isinstance(dataset.samples, list)
    return dataset


def test_records_are_those_that_a_list_would_hold(
    whole: Dataset, tmp_path: Path, plugins: Plugins, spooled: None
) -> None:
    """By index, slice and iteration."""
    dataset, _ = read(tmp_path / "rows.jsonl", plugins)

    assert isinstance(dataset.samples, SpooledSamples)
    assert whole.samples == list(dataset.samples)
    assert whole.ground_truth == list(dataset.ground_truth)
    assert whole.samples[3] == dataset.samples[3]
    assert whole.samples[-1] == dataset.samples[-1]
    assert whole.samples[1:6:2] == dataset.samples[1:6:2]
    assert whole.ground_truth[2:5] == dataset.ground_truth[2:5]
    assert whole.counts == dataset.counts
    with pytest.raises(IndexError):
        dataset.samples[len(whole)]


def test_what_is_computed_of_them_is_the_same(
    whole: Dataset, tmp_path: Path, plugins: Plugins, spooled: None
) -> None:
    """Hashes, the parts, subsamples and columns."""
    dataset, _ = read(tmp_path / "rows.jsonl", plugins)

    assert whole.data_hash == dataset.data_hash
    assert DataFingerprint.of(whole) == DataFingerprint.of(dataset)
    assert DataFingerprint.of(whole, 3) == DataFingerprint.of(dataset, 3)
    assert calibration_ids(whole, 0.5) == calibration_ids(dataset, 0.5)
    part, other = subsample(whole, 4, seed=1), subsample(dataset, 4, seed=1)
    assert part.samples == list(other.samples)
    assert part.data_hash == other.data_hash
    for name in (
        "value",
        "target",
        "n_turns",
        "length",
        "several",
        "documents",
        "content",
    ):
        ours, theirs = getattr(whole.columns, name), getattr(dataset.columns, name)
        assert np.array_equal(ours, theirs), name
    assert list(whole.columns.groups) == list(dataset.columns.groups)
    assert list(whole.columns.ids) == list(dataset.columns.ids)


def test_the_fingerprint_is_known_since_rows_were_read(
    tmp_path: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all rows have ids of their own; as the one that is made of the records."""
    named = [{**row, "id": f"r{number}"} for number, row in enumerate(ROWS)]
    whole, _ = read(write(tmp_path / "named.jsonl", named), plugins)
    monkeypatch.setattr(record_spool, "BLOCK", 2)
    monkeypatch.setattr(record_spool, "MAX_IN_MEMORY", 2)

    dataset, _ = read(tmp_path / "named.jsonl", plugins)

    assert ROWS_DIGEST in vars(dataset)
    assert ROWS_DIGEST not in vars(whole)
    assert DataFingerprint.of(whole) == DataFingerprint.of(dataset)


def test_a_repeated_id_is_named_with_both_places(
    tmp_path: Path, plugins: Plugins, spooled: None
) -> None:
    """Bad rows do not count: the good one of their id stays."""
    rows = [{"id": f"r{i % 4}", "prompt": f"p{i}", "label": "safe"} for i in range(5)]
    path = write(tmp_path / "twice.jsonl", rows)

    with pytest.raises(DataError, match=r"twice.jsonl:5: id 'r0' repeats .*jsonl:1"):
        read(path, plugins)

    rows[0]["label"] = "no such label"
    write(path, rows)
    request = resolve_dataset(str(path), plugins, on_bad_row="skip")
    assert ["p1", "p2", "p3", "p4"] == [
        sample.turns[0].text for sample in load_dataset(request, print).samples
    ]


def test_values_that_json_would_change_stay(plugins: Plugins, spooled: None) -> None:
    """Numbers as keys, tuples and dates come back as they were."""
    from datetime import date

    from safebench.datasets import Example
    from safebench.records import Label, Turn

    spool = record_spool.RecordSpool("set/all")
    metas = [{"a": (1, 2)}, {"b": {1: 2}}, {"c": date(2026, 1, 2)}, {"d": [1.5, None]}]
    for meta in metas:
        example = Example(
            turns=(Turn("user", "x"),), label=Label(value=True, votes=(1, 3)), meta=meta
        )
        spool.add(example, lambda _: "g", "prompt_harm")

    records = spool.finish("prompt_harm")

    assert metas == [sample.meta for sample in records.samples]
    assert (1, 3) == records.truths[2].label.votes


def test_a_group_is_whole_in_either_part() -> None:
    """Against the groups as Python sorts them: by the digest of each name."""
    import hashlib

    from safebench.record_columns import ColumnsBuilder, PackedTexts

    builder = ColumnsBuilder()
    names = ["b", "ä", "a", "b", "zz", "ä"]
    for name in names:
        builder.add(
            name, name, hashlib.sha256(name.encode()).digest(), True,
            roles=["user"], target=-1, length=1, documents=False,
        )  # fmt: skip
    columns = builder.columns()

    order = sorted(set(names))
    assert [order.index(name) for name in names] == columns.group_codes.tolist()
    codes = columns.content_codes.tolist()
    assert codes[0] == codes[3] != codes[1] == codes[5]
    assert PackedTexts.of(["x" * 80, "y"]).as_array() is None
