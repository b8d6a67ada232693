"""Columns of a file on disk are those of its rows, and hold no text of them."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.datasets import record_spool
from safebench.datasets.column_file import (
    UnusableError,
    can_be_kept,
    columns_key,
    is_unchanged,
    read_columns,
    write_columns,
)
from safebench.datasets.loader import load_dataset
from safebench.datasets.resolve import resolve_dataset
from safebench.datasets.sample_columns import stored_columns
from safebench.datasets.splits import calibration_ids, subsample
from safebench.datasets.spooled_records import without_texts
from safebench.errors import DataError
from safebench.pipeline.manifest import DataFingerprint
from safebench.policies import load_policy

if TYPE_CHECKING:
    from safebench.plugins import Plugins
    from safebench.records import Dataset

SECRET = "a text that nobody may store"
LONG = "long " * 40 + SECRET
ROWS: list[dict[str, Any]] = [
    {"prompt": f"{SECRET} 0", "label": "unsafe", "group": "a", "categories": ["S1"]},
    {"prompt": f"ça va {SECRET}?", "label": "safe", "language": "fr"},
    {"prompt": f"{SECRET} 0", "label": "safe", "language": LONG,
     "source": LONG},
    {"id": "mine", "prompt": SECRET, "label": "safe", "source": "forum", "n": 3},
    {"messages": [{"role": "user", "content": f"{t} {SECRET}"} for t in ("a", "b")],
     "label": "unsafe", "categories": ["S1", "S2"]},
    {"prompt": f"what now? {SECRET}", "label": None, "categories": []},
    {"prompt": f"{SECRET} 0", "label": "unsafe", "group": "a"},
]  # fmt: skip
GROUNDED = [
    {
        "prompt": "who?",
        "response": f"{i} {SECRET}",
        "documents": [LONG],
        "label": i % 2 == 0,
    }
    for i in range(6)
]
PAIRS = [
    {
        "prompt": f"{i} {SECRET}",
        "response_0": f"no {i}",
        "response_1": f"yes {SECRET}",
        "is_response_0_safe": True,
        "is_response_1_safe": False,
        "safer_response_id": 0,
    }
    for i in range(4)
]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of one's own, where two rows are many."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(record_spool, "BLOCK", 2)
    monkeypatch.setattr(record_spool, "MAX_IN_MEMORY", 2)


def write(rows: list[dict[str, Any]], name: str = "rows.jsonl") -> str:
    """Write a file, and return its name."""
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    Path(name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return name


def kept(text: str, plugins: Plugins) -> tuple[Dataset, Dataset]:
    """Return a dataset as it is read, and as its columns give it."""
    request = resolve_dataset(text, plugins)
    key = columns_key(request)
    assert key is not None
    dataset = load_dataset(request, say=lambda _: None)
    assert can_be_kept(dataset)
    digest = DataFingerprint.of(dataset).sha256
    write_columns(Path("kept.npz"), key, dataset, digest, ["noted"])
    read = read_columns(Path("kept.npz"), key, request)
    assert read is not None
    assert ("noted",) == read.messages
    return dataset, read.dataset


@pytest.mark.parametrize(
    ("rows", "options"),
    [(ROWS, ""), (GROUNDED, ",task=groundedness"), (PAIRS, "")],
    ids=["prompts", "documents", "pairs"],
)
def test_a_set_is_the_same_by_its_columns(
    rows: list[dict[str, Any]], options: str, plugins: Plugins
) -> None:
    """All that a run asks: hashes, parts, truths, what came along, and records."""
    whole, other = kept(write(rows) + options, plugins)

    assert whole.data_hash == other.data_hash
    assert DataFingerprint.of(whole) == DataFingerprint.of(other)
    assert calibration_ids(whole, 0.5) == calibration_ids(other, 0.5)
    assert list(whole.ground_truth) == list(other.ground_truth)
    for name in vars(whole.columns):
        ours, theirs = (getattr(d.columns, name) for d in (whole, other))
        assert np.array_equal(ours, theirs), name
    for without_turns in (True, False):
        ours, theirs = (
            list(
                stored_columns(
                    zip(samples, dataset.ground_truth, strict=True),
                    without_turns=without_turns,
                )
            )
            for dataset, samples in (
                (whole, whole.samples),
                (other, without_texts(other)),
            )
        )
        assert ours == theirs
    part, others = subsample(whole, 4, seed=1), subsample(other, 4, seed=1)
    assert list(part.ground_truth) == list(others.ground_truth)
    assert part.data_hash == others.data_hash
    assert list(part.samples) == list(others.samples)
    assert list(whole.samples) == list(other.samples)
    assert replace(whole, samples=[], ground_truth=[]) == replace(
        other, samples=[], ground_truth=[]
    )


@pytest.mark.parametrize("rows", [ROWS, GROUNDED, PAIRS], ids=["1", "2", "3"])
def test_no_text_is_stored(rows: list[dict[str, Any]], plugins: Plugins) -> None:
    """Neither as it is nor packed: not of turns, documents, or long columns."""
    task = ",task=groundedness" if rows is GROUNDED else ""
    kept(write(rows) + task, plugins)

    with np.load("kept.npz") as stored:
        content = [array.tobytes() for array in map(stored.__getitem__, stored.files)]
        blocks, ends = stored["blocks"].tobytes(), stored["block_ends"].tolist()
    places = pairwise(ends)
    content += [zlib.decompress(blocks[start:end]) for start, end in places]
    assert len(content) > len(ends)
    assert all(SECRET.encode() not in part for part in content)


@pytest.mark.parametrize(("old", "new"), [("now", "next"), ("forum", "board")])
def test_texts_are_read_from_the_source_as_it_was(
    old: str, new: str, plugins: Plugins
) -> None:
    """A file that was changed in the meantime gives none, whatever was changed."""
    _, other = kept(write(ROWS), plugins)
    Path("rows.jsonl").write_text(Path("rows.jsonl").read_text().replace(old, new))

    assert list(other.columns.ids)  # these need no file
    with pytest.raises(DataError, match=r"rows\.jsonl has changed since"):
        list(other.samples)


def key(text: str, plugins: Plugins, **options: Any) -> str:
    """Return what the columns of a request are found by."""
    found = columns_key(resolve_dataset(text, plugins, **options))
    assert found is not None
    return found


def test_what_changes_columns_changes_their_key(plugins: Plugins) -> None:
    """And nothing else does: neither the place of the file nor its times."""
    name = write(ROWS)
    first = key(name, plugins)
    Path("elsewhere").mkdir()
    Path("elsewhere", name).write_bytes(Path(name).read_bytes())
    assert first == key(name, plugins) == key(f"elsewhere/{name}", plugins)

    Path("policy.yaml").write_text(
        "id: mine\nversion: '1'\ncategories:\n  S1: {name: one, definition: some}\n"
    )
    keys = [
        first,
        key(f"{name},label=other", plugins),
        key(f"{name},turns=all", plugins),
        key(f"{name},task=jailbreak", plugins),
        key(f"{name},policy=policy.yaml", plugins),
        key(name, plugins, label_map={"safe": "unsafe"}),
        key(name, plugins, on_bad_row="skip"),
        key(name, plugins, strict=True),
    ]
    Path("policy.yaml").write_text(
        Path("policy.yaml").read_text() + "  S2: {name: two, definition: some}\n"
    )
    load_policy.cache_clear()
    keys.append(key(f"{name},policy=policy.yaml", plugins))
    Path("README.md").write_text("---\ndataset_info: {}\n---\n")
    keys.append(key(name, plugins))
    Path("README.md").unlink()
    content = Path(name).read_bytes()
    Path(name).write_bytes(content.replace(b"now", b"won", 1))
    keys.append(key(name, plugins))
    Path("other.jsonl").write_bytes(content)  # ids are made of the name
    keys.append(key("other.jsonl", plugins))
    assert len(set(keys)) == len(keys)
    assert columns_key(resolve_dataset("starter", plugins)) is None


def test_a_packed_file_is_looked_at_again_after_it_was_read(plugins: Plugins) -> None:
    """Its revision is of what is packed, so that it says nothing of its bytes."""
    for name in (write(ROWS, "rows.jsonl.gz"), write(ROWS)):
        request = resolve_dataset(name, plugins)
        before, dataset = key(name, plugins), load_dataset(request, say=lambda _: None)
        assert is_unchanged(request, before, dataset)
        write(ROWS[:-1], name)
        assert not is_unchanged(request, before, dataset)


def test_damage_is_noticed(plugins: Plugins) -> None:
    """Any byte of the arrays, and a file that was cut off or is something else."""
    kept(write(ROWS), plugins)
    request = resolve_dataset("rows.jsonl", plugins)
    name, path = key("rows.jsonl", plugins), Path("kept.npz")
    whole = path.read_bytes()

    assert read_columns(path, "another key", request) is None
    assert read_columns(Path("none.npz"), name, request) is None
    with np.load(path) as stored:
        arrays = {n: stored[n].copy() for n in stored.files}
    for array in arrays.values():  # a whole archive, whose own checksums are right
        array.reshape(-1).view(np.uint8)[-1] ^= 1
        np.savez(path, allow_pickle=False, **arrays)
        with pytest.raises(UnusableError):
            read_columns(path, name, request)
        array.reshape(-1).view(np.uint8)[-1] ^= 1
    for content in (whole[: len(whole) // 2], b"", b"no archive"):
        path.write_bytes(content)
        with pytest.raises(UnusableError):
            read_columns(path, name, request)
