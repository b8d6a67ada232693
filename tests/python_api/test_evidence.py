"""Evidence as frames: the arrays of the shards, each with the id of its sample."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safebench import load_run, run
from safebench.errors import DataError, RunFolderError, UnknownNameError
from safebench.plugins import Plugins
from safebench.python_api.recorded_evidence import SampleId, samples_by_key
from safebench.records import Turn, content_hash

GOLDEN = Path(__file__).parents[1] / "golden"


def shards(folder: Path, kind: str) -> dict[str, tuple[dict[str, Any], Any, int]]:
    """Return header, arrays and row by sample key, of a kind by its stored name."""
    rows = {}
    for path in sorted(folder.glob("evidence/*/main/*.npz")):
        arrays = dict(np.load(path))
        header = json.loads(arrays["head"].tobytes())
        if kind in header["kinds"]:
            for row, key in enumerate(header["questions"]):
                rows[key] = header, arrays, row
    return rows


def lines_of(folder: Path, classifier: str) -> dict[str, dict[str, Any]]:
    """Return the predictions of one strategy of a classifier by id."""
    path = next(iter(sorted((folder / "predictions" / classifier).rglob("*.jsonl"))))
    lines = map(json.loads, path.read_text("utf-8").splitlines())
    return {line["id"]: line for line in lines}


def test_one_row_a_sample_with_the_stored_numbers(golden_runs: Path) -> None:
    """Logits of windows x members x classes, and what the pass over it took."""
    folder = golden_runs / "prompts"
    kind = "safebench.evidence.kinds.MemberLogits"
    stored, lines = shards(folder, kind), lines_of(folder, "ensemble")
    frame = load_run(folder).evidence("ensemble")

    assert sorted(lines) == sorted(frame.id)
    for record in frame.to_dict("records"):
        key = f"{lines[record['id']]['content']}:0:prompt_harm"
        header, arrays, row = stored[key]
        start, end = arrays[f"{kind}/@W"][row : row + 2]
        logits = arrays[f"{kind}/logits"][start:end]
        np.testing.assert_array_equal(logits, record["logits"])
        assert header["traces"]["tokens_in"][row] == record["tokens_in"]
        assert header["kinds"][kind] == record["meta"]
        assert "prompts.jsonl" == record["dataset"]


@pytest.mark.parametrize("with_data", [True, False])
def test_ragged_arrays_are_cut_by_sample(
    golden_runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    with_data: bool,
) -> None:
    """The nodes of a verdict tree are those between two offsets.

    With the data set at hand, and without it, of which a note speaks.
    """
    monkeypatch.chdir(tmp_path)
    if with_data:
        shutil.copy(GOLDEN / "prompts.jsonl", tmp_path)
    folder = golden_runs / "prompts"
    kind = "safebench.evidence.kinds.VerdictTree"
    stored, lines = shards(folder, kind), lines_of(folder, "guard")
    frame = load_run(folder).evidence("GUARD", kind="verdicttree")
    keys = {key.partition(":")[0]: key for key in stored}

    assert sorted(lines) == sorted(frame.id)
    assert with_data == frame.id_note.isna().all()
    assert with_data or frame.id_note.str.contains("matched by content").all()
    for record in frame.to_dict("records"):
        _, arrays, row = stored[keys[lines[record["id"]]["content"]]]
        for name, dim in (("logp", "N"), ("stop", "E"), ("top_ids", "G")):
            start, end = arrays[f"{kind}/@{dim}"][row : row + 2]
            expected = arrays[f"{kind}/{name}"][start:end]
            np.testing.assert_array_equal(expected, record[name])


def test_samples_of_one_conversation_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rows of the same turns, judged at other ones, have evidence of their own.

    Predictions do not say which turn is judged, so the data set is read again; where
    that cannot be, there is no id, and a reason.
    """
    monkeypatch.chdir(tmp_path)
    texts = [("user", "attack"), ("assistant", "no"), ("user", "bread")]
    messages = [{"role": role, "content": text} for role, text in texts]
    rows = [
        {"messages": messages, "label": "safe", "id": "last"},
        {"messages": messages[:1], "label": "unsafe", "id": "first"},
        {"messages": messages[:1] + messages, "label": "safe", "id": "longer"},
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    loaded = run("keyword", datasets="data.jsonl", calibration_fraction=0)
    names = ("dataset", "split", "task", "id", "content")
    columns = (loaded.predictions[name] for name in names)
    samples = [SampleId(*values) for values in zip(*columns, strict=True)]
    turns = tuple(Turn(role, text) for role, text in texts)
    keys = [f"{content_hash(turns[:n])}:turn" for n in (1, 2, 3)]
    matched = samples_by_key(keys, samples, loaded.folder, Plugins())
    ids = {key: [s.id for s in of_key] for key, of_key in matched.by_key.items()}

    assert {keys[0]: ["first"], keys[2]: ["last"]} == ids
    data.unlink()
    matched = samples_by_key(keys, samples, loaded.folder, Plugins())
    assert {} == matched.by_key
    assert "could not be read again" in matched.missing


def test_samples_without_predictions_have_no_id(
    golden_runs: Path, tmp_path: Path
) -> None:
    """Their evidence is there, and a note says why nobody knows whose it is."""
    folder = shutil.copytree(golden_runs / "prompts", tmp_path / "run")
    for path in folder.glob("predictions/keyword/*/*.jsonl"):
        lines = path.read_text("utf-8").splitlines()[2:]
        path.write_text("\n".join(lines) + "\n", "utf-8")
    (folder / "manifest.json").unlink()  # with it the edited file would be refused
    frame = load_run(folder).evidence("keyword")
    unknown = frame[frame.id.isna()]

    assert (22, 2) == (len(frame), len(unknown))
    assert {"its sample has no predictions in this run"} == set(unknown.id_note)
    assert frame[frame.id.notna()].id_note.isna().all()
    assert 20 == len(load_run(folder).evidence("keyword", dataset="prompts.jsonl"))


def test_what_is_damaged_is_refused(golden_runs: Path, tmp_path: Path) -> None:
    """One byte of a shard, the manifest beside it, and a folder without evidence."""
    folder = shutil.copytree(golden_runs / "answers", tmp_path / "run")
    assert len(load_run(folder).evidence())
    shard = next(folder.glob("evidence/*/main/00000.npz"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(DataError, match="is damaged"):
        load_run(folder).evidence("cost")
    (manifest,) = folder.glob("evidence/*/evidence.json")
    manifest.write_text(manifest.read_text("utf-8").replace("cpu", "gpu"), "utf-8")
    with pytest.raises(DataError, match="of another key"):
        load_run(folder).evidence("cost")
    shutil.rmtree(folder / "evidence")
    with pytest.raises(RunFolderError, match="came without it"):
        load_run(folder).evidence("cost")


def test_a_key_leads_nowhere_else(golden_runs: Path, tmp_path: Path) -> None:
    """Results from anywhere may name a folder as their evidence; it is not read."""
    folder = shutil.copytree(golden_runs / "answers", tmp_path / "run")
    (place,) = (folder / "evidence").iterdir()
    results = folder / "results.jsonl"
    text = results.read_text("utf-8")
    results.write_text(text.replace(place.name, f"../evidence/{place.name}"), "utf-8")
    (folder / "manifest.json").unlink()

    with pytest.raises(RunFolderError, match="do not say which evidence"):
        load_run(folder).evidence("cost")


def test_unknown_names_tell_the_nearest(golden_runs: Path) -> None:
    """Of classifiers, kinds and datasets; of several classifiers one must be named."""
    loaded = load_run(golden_runs / "prompts")

    with pytest.raises(UnknownNameError, match="did you mean 'guard'"):
        loaded.evidence("gard")
    with pytest.raises(UnknownNameError, match="did you mean 'VerdictTree'"):
        loaded.evidence("guard", kind="VerdictTre")
    with pytest.raises(UnknownNameError, match=r"did you mean 'prompts.jsonl"):
        loaded.evidence("guard", dataset="promts.jsonl")
    with pytest.raises(UnknownNameError, match="ensemble, guard, keyword"):
        loaded.evidence()
