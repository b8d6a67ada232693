"""Evidence on disk survives crashes and is found by sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safebench.classifiers import Recording, Trace
from safebench.evidence import Scores
from safebench.evidence.store import EvidenceStore, evidence_key, sample_key
from safebench.records import Sample, Turn

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


def test_a_sample_key_depends_on_the_scope_of_the_evidence() -> None:
    """Evidence about a turn differs by target and task, about a conversation not."""
    turns = (Turn("user", "hi"), Turn("assistant", "hello"))
    first = Sample(id="1", turns=turns, target=0)
    last = Sample(id="2", turns=turns, task="refusal")
    explicit = Sample(id="3", turns=turns, target=1, task="refusal")
    assert sample_key(first, "target") != sample_key(last, "target")
    assert sample_key(last, "target") == sample_key(explicit, "target")
    assert sample_key(first, "conversation") == sample_key(last, "conversation")
