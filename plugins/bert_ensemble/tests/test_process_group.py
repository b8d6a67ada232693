"""Members trained in several processes, of our own or of a launcher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from safebench_bert_ensemble.model.classifier import BertEnsemble
from safebench_bert_ensemble.options import EnsembleOptions
from safebench_bert_ensemble.train.process_group import ProcessRank, assigned_gpu
from safebench_bert_ensemble.train.trainer import fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.training import Training

    MakeTraining = Callable[..., Training]
    EqualWeights = Callable[[Path, Path], bool]


@pytest.mark.slow
def test_processes_of_a_launched_group_share_the_members(
    make_training: MakeTraining,
    equal_weights: EqualWeights,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rank 1 trains its member alone; rank 0 then trains the other and measures."""
    training = make_training(epochs=1.0)
    alone = make_training("alone", epochs=1.0)
    fit(alone)

    for rank in ("1", "0"):
        for name, value in (("RANK", rank), ("WORLD_SIZE", "2"), ("LOCAL_RANK", rank)):
            monkeypatch.setenv(name, value)
        trained = fit(training)
        assert (training.out / "member-02").is_dir()
        assert (rank == "0") == (training.out / "member-01").is_dir()
        assert (rank == "0") == bool(trained.measures)

    for member in ("member-01", "member-02"):
        assert equal_weights(alone.out / member, training.out / member)


@pytest.mark.parametrize(
    ("named", "local", "expected"),
    [(None, 1, "1"), ("4,6", 1, "6"), ("4,6", 2, "4"), ("", 1, None)],
)
def test_a_process_of_a_group_takes_its_own_gpu(
    monkeypatch: pytest.MonkeyPatch, named: str | None, local: int, expected: str | None
) -> None:
    """The local rank chooses among visible GPUs; where none is, none is made up."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)

    assert expected == assigned_gpu(ProcessRank(local, 4, local))
    assert assigned_gpu(ProcessRank()) is None


@pytest.mark.slow
def test_worker_processes_train_the_same_members(
    make_training: MakeTraining, equal_weights: EqualWeights
) -> None:
    """Two processes at once give what one gives, member by member."""
    alone, workers = (
        make_training("alone", epochs=1.0),
        make_training("workers", epochs=1.0, parallel="processes", workers=2),
    )

    fit(alone)
    fit(workers)

    for member in ("member-01", "member-02"):
        assert equal_weights(alone.out / member, workers.out / member)


@pytest.mark.slow
def test_a_launched_command_trains_members_side_by_side(
    tiny_base: Path, tmp_path: Path
) -> None:
    """Two processes of a launcher leave one whole ensemble, each having trained."""
    rows = [
        {"prompt": f"how do i {word} number {i}", "label": label}
        for i in range(40)
        for word, label in (("poison", "harmful"), ("paint", "safe"))
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"

    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
         "-m", "safebench", "train", "bert_ensemble", "--base", str(tiny_base),
         "--members", "3", "--epochs", "1", "--dataset", str(file), "--device", "cpu",
         "--out", str(out)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip

    assert 0 == done.returncode, done.stderr
    manifest = json.loads((out / "safebench.json").read_text())
    assert "done" == manifest["status"]
    assert 3 == len(manifest["members"])
    classifier = BertEnsemble(EnsembleOptions(model=str(out), device="cpu"))
    assert ["member-01", "member-02", "member-03"] == classifier.ensemble.names
