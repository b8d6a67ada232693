"""Evidence on disk survives crashes and is found by sample."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from safebench.classifiers import Recording, Trace
from safebench.evidence import Scores
from safebench.evidence.manifest import (
    DamagedError,
    EvidenceManifest,
    evidence_key,
    manifest_paths,
)
from safebench.evidence.shard_file import read_facts, read_shard
from safebench.evidence.store import EvidenceStore

if TYPE_CHECKING:
    from pathlib import Path


def recording(values: list[float]) -> Recording:
    """Build scores with one label, and traces that tell the samples apart."""
    scores = Scores({"values": [[v] for v in values]}, meta={"labels": ["x"]})
    traces = [Trace(tokens_in=round(v * 10), raw=f"said {v}") for v in values]
    return Recording(evidence={Scores: scores}, traces=traces)


def test_evidence_is_read_back_in_any_order(tmp_path: Path) -> None:
    """Samples from several shards come back as requested, repeats included."""
    store = EvidenceStore(tmp_path, [Scores])
    store.add(["a", "b"], recording([0.1, 0.2]))
    store.add(["c"], recording([0.3]))

    loaded = EvidenceStore(tmp_path, [Scores]).load(["c", "a", "c", "b"], [Scores])

    values = loaded.evidence[Scores]["values"][:, 0]
    assert [0.3, 0.1, 0.3, 0.2] == values.tolist()
    assert ["said 0.3", "said 0.1", "said 0.3", "said 0.2"] == [
        t.raw for t in loaded.traces
    ]


@pytest.mark.parametrize("raw", [None, "said"], ids=["compact", "texts"])
def test_what_is_known_of_shards_is_what_they_say(
    tmp_path: Path, raw: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few numbers are kept from the header, texts are read again: both say the same."""
    store = EvidenceStore(tmp_path, [Scores])
    for name, errors in (("a", [None, None]), ("b", ["broke", None])):
        scores = Scores(
            {"values": [[0.1], [0.2]]}, meta={"labels": ["x"], "of": ("t",)}
        )
        traces = [
            Trace(
                tokens_in=row, seconds=row / 7, raw=raw and f"{raw} {row}", error=error
            )
            for row, error in enumerate(errors)
        ]
        shard = Recording(evidence={Scores: scores}, traces=traces, peak_memory_mib=3.5)
        store.add([f"{name}0", f"{name}1"], shard)
    shards = [read_shard(path, [Scores]) for path in sorted(tmp_path.glob("*.npz"))]
    said = [trace for shard in shards for trace in shard.traces]
    again = EvidenceStore(tmp_path, [Scores])
    opened: list[str] = []
    monkeypatch.setattr(
        "safebench.evidence.store.read_facts",
        lambda path: opened.append(path.name) or read_facts(path),
    )

    for known in (store, again):
        keys = ["a0", "a1", "b0", "b1"]
        facts = known.facts(keys, [Scores])
        loaded = known.load(keys, [Scores])
        assert said == list(facts.traces) == list(loaded.traces)
        assert {"labels": ["x"], "of": ["t"]} == facts.metas[Scores.kind_id]
        assert facts.metas[Scores.kind_id] == loaded.evidence[Scores].meta
        assert facts.peak_memory_mib == loaded.peak_memory_mib == 3.5
    n_texts = 2 if raw else 1  # the second shard has the text of an error
    assert len(opened) == 2 * n_texts


def test_missing_keeps_order_and_names_each_sample_once(tmp_path: Path) -> None:
    """What is left to record is a pure function of what is stored."""
    store = EvidenceStore(tmp_path, [Scores])
    store.add(["b"], recording([0.2]))

    assert ["c", "a"] == store.missing(["c", "b", "a", "c"])


def test_a_truncated_or_temporary_shard_is_as_good_as_none(tmp_path: Path) -> None:
    """After a crash, half a file never passes for evidence."""
    store = EvidenceStore(tmp_path, [Scores])
    store.add(["a"], recording([0.1]))
    store.add(["b"], recording([0.2]))
    whole = (tmp_path / "00001.npz").read_bytes()
    (tmp_path / "00001.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "00002.123.tmp").write_bytes(whole)

    again = EvidenceStore(tmp_path, [Scores])

    assert ["b"] == again.missing(["a", "b"])
    again.add(["b"], recording([0.7]))
    assert 0.7 == again.load(["b"], [Scores]).evidence[Scores]["values"][0, 0]


def test_a_shard_of_other_evidence_is_not_mistaken(tmp_path: Path) -> None:
    """A shard that lacks a kind counts as not recorded."""

    class Other(Scores):
        """Another kind."""

    EvidenceStore(tmp_path, [Scores]).add(["a"], recording([0.1]))

    assert ["a"] == EvidenceStore(tmp_path, [Other]).missing(["a"])


def test_no_pickle_is_written(tmp_path: Path) -> None:
    """Shards hold plain arrays: reading one runs no code."""
    EvidenceStore(tmp_path, [Scores]).add(["a"], recording([0.1]))

    with np.load(tmp_path / "00000.npz", allow_pickle=False) as stored:
        kinds = {stored[name].dtype.kind for name in stored.files}
    assert kinds <= set("biuf")


def test_key_changes_with_request_and_facts() -> None:
    """The same model on another device or with other options has another key."""
    keys = {
        evidence_key({"model": "a"}, {"dtype": "float32"}),
        evidence_key({"model": "b"}, {"dtype": "float32"}),
        evidence_key({"model": "a"}, {"dtype": "bfloat16"}),
    }

    assert 3 == len(keys)


def test_a_shard_knows_its_key_and_its_code(tmp_path: Path) -> None:
    """Under another key it is damaged; a store without a key takes any."""
    store = EvidenceStore(tmp_path, [Scores], "key", {"files": {"a.py": "1"}})
    store.add(["a", "b"], recording([0.1, 0.2]))
    later = EvidenceStore(tmp_path, [Scores], "key", {"files": {"a.py": "2"}})
    later.add(["b"], recording([0.3]))

    again = EvidenceStore(tmp_path, [Scores], "key")
    other = EvidenceStore(tmp_path, [Scores], "other")

    assert [({"files": {"a.py": "1"}}, 1), ({"files": {"a.py": "2"}}, 1)] == (
        again.recorders(["a", "b"])
    )
    assert ["a", "b"] == other.missing(["a", "b"])
    assert {"belongs to another key (key)"} == set(other.damaged.values())
    assert [] == EvidenceStore(tmp_path, [Scores]).missing(["a", "b"])
    assert 2 == len(other.set_aside_damaged())
    assert ["a"] == EvidenceStore(tmp_path, [Scores], "key").missing(["a"])


def test_every_flipped_bit_is_seen(tmp_path: Path) -> None:
    """In names, lengths, data, directory, comment and checksum."""
    EvidenceStore(tmp_path, [Scores]).add(["a"], recording([0.1]))
    (path,) = tmp_path.glob("*.npz")
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)

        store = EvidenceStore(tmp_path, [Scores])

        assert [path] == list(store.damaged), place


def test_forgotten_samples_are_recorded_again(tmp_path: Path) -> None:
    """Those by other code, or all of them where there are none."""
    EvidenceStore(tmp_path, [Scores], recorder="old").add(["a"], recording([0.1]))
    store = EvidenceStore(tmp_path, [Scores], recorder="new")
    store.add(["b"], recording([0.2]))

    store.forget(["a", "b", "c"])
    assert ["a"] == store.missing(["a", "b"])
    store.add(["a"], recording([0.3]))
    store.forget(["a", "b"])
    assert ["a", "b"] == store.missing(["a", "b"])

    loaded = EvidenceStore(tmp_path, [Scores]).load(["a", "b"], [Scores])
    assert [0.3, 0.2] == loaded.evidence[Scores]["values"][:, 0].tolist()


@pytest.mark.slow
def test_a_shard_of_an_early_version_is_read_whole_before_it_is_used(
    tmp_path: Path,
) -> None:
    """It has no checksum of its own: damaged, or what it was."""
    EvidenceStore(tmp_path, [Scores]).add(["a"], recording([0.1]))
    (path,) = tmp_path.glob("*.npz")
    with np.load(path) as stored:
        arrays = dict(stored)
    header = json.loads(arrays["head"].tobytes())
    header = {k: v for k, v in header.items() if k not in ("key", "recorder")}
    arrays["head"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    np.savez_compressed(path, **arrays)
    whole = path.read_bytes()
    n_damaged = 0
    for place in range(0, len(whole), 3):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)

        store = EvidenceStore(tmp_path, [Scores])

        n_damaged += bool(store.damaged)
        if "a" in store:
            values = store.load(["a"], [Scores]).evidence[Scores]["values"]
            assert [[0.1]] == values.tolist(), place
    assert n_damaged > len(whole) / 12


def test_a_description_of_another_key_is_no_description(tmp_path: Path) -> None:
    """A folder that was copied, renamed, or edited."""
    request, facts = {"classifier": "a"}, {"device": "cpu"}
    manifest = EvidenceManifest(evidence_key(request, facts), request, facts)
    manifest.write(tmp_path)
    (path,) = manifest_paths(tmp_path)
    assert manifest == EvidenceManifest.read(path)

    path.parent.rename(tmp_path / "0123456789abcdef")
    (path,) = manifest_paths(tmp_path)
    with pytest.raises(DamagedError, match="another key"):
        EvidenceManifest.read(path)
    for text in ("", "{", "null", "[]", '{"request": {}}', "[" * 100_000, "\x00"):
        path.write_text(text)
        with pytest.raises(DamagedError, match="cannot be read"):
            EvidenceManifest.read(path)


def test_failed_samples_are_forgotten_and_no_other(tmp_path: Path) -> None:
    """Also by a store that is opened later; a success takes the place of a failure."""
    store = EvidenceStore(tmp_path, [Scores])
    failed = recording([0.1, 0.2])
    failed.traces[1].error = "no answer"
    store.add(["a", "b"], failed)

    assert 1 == store.forget_failed(["a", "b", "c", "b"])
    assert ["b"] == store.missing(["a", "b"])
    later = EvidenceStore(tmp_path, [Scores])
    assert [] == later.missing(["a", "b"])
    assert 1 == later.forget_failed(["b"])
    later.add(["b"], recording([0.4]))
    assert 0 == later.forget_failed(["a", "b"])
    assert 0 == EvidenceStore(tmp_path, [Scores]).forget_failed(["a", "b"])
