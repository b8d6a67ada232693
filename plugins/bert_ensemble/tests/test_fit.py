"""Members are trained, kept, resumed and measured as promised."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from sklearn import metrics

from safebench.errors import ModelError, OptionError
from safebench.neural.device import cpu_has_bf16
from safebench_bert_ensemble.arguments import check_arguments
from safebench_bert_ensemble.bases import Base
from safebench_bert_ensemble.classifier import BertEnsemble
from safebench_bert_ensemble.fit import fit
from safebench_bert_ensemble.job import Job, Part
from safebench_bert_ensemble.member import FACTS, drawn, validation_scores
from safebench_bert_ensemble.options import EnsembleOptions, TrainOptions
from safebench_bert_ensemble.parallel import Place, _own_gpu
from safebench_bert_ensemble.trained import load_members

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.training.job import Trained, Training

    MakeTraining = Callable[..., Training]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a member."""
    found: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
    return found


def same(a: Path, b: Path) -> bool:
    """Tell whether two members are equal to the last bit."""
    one, other = weights(a), weights(b)
    return one.keys() == other.keys() and all(
        torch.equal(one[key], other[key]) for key in one
    )


def measured(trained: Trained, who: str, metric: str) -> float | None:
    """Return a test number."""
    return next(
        m.value
        for m in trained.measures
        if (m.who, m.part, m.metric) == (who, "test", metric)
    )


def test_an_ensemble_learns_and_its_members_load_plainly(
    finished: tuple[Training, Trained],
) -> None:
    """Words tell the class: both pools find out, `from_pretrained` needs no more."""
    training, trained = finished

    for pool in ("mean_logits", "mean_probs"):
        assert measured(trained, f"ensemble ({pool})", "f1") == 1.0
    member = transformers.AutoModelForSequenceClassification.from_pretrained(
        training.out / "member-02"
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(training.out)
    right = 0
    for sample, gold in zip(training.test.samples, training.test.golds, strict=True):
        inputs = tokenizer(
            sample.judged.text, return_tensors="pt", truncation=True, max_length=16
        )
        with torch.inference_mode():
            label = member.config.id2label[int(member(**inputs).logits.argmax())]
        right += (label == "harmful") is gold.label.value
    assert right / 24 == pytest.approx(measured(trained, "member-02", "accuracy"))
    assert member.dtype == torch.float32
    assert not list(training.out.glob("checkpoint-*"))


def test_the_manifest_tells_members_apart(finished: tuple[Training, Trained]) -> None:
    """Each member has its own seed for the head and for the order, and its numbers."""
    training, trained = finished

    first, second = trained.manifest["members"]
    assert {"member-01", "member-02"} == {first["path"], second["path"]}
    assert 4 == len({m[k] for m in (first, second) for k in ("seed", "data_seed")})
    assert {"safe": 0, "harmful": 1} == trained.manifest["label_map"]
    assert first["steps"] == 6 * len(first["epochs"])
    assert not same(training.out / "member-01", training.out / "member-02")
    json.dumps(trained.manifest)


def test_validation_scores_are_those_of_scikit_learn() -> None:
    """F1, accuracy, AUROC and loss of rows, however they were batched."""
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(50, 2)), rng.integers(0, 2, 50)
    p = np.exp(logits[:, 1]) / np.exp(logits).sum(axis=1)

    found = validation_scores(transformers.EvalPrediction(logits, y))

    assert metrics.f1_score(y, p > 0.5) == pytest.approx(found["f1"])
    assert metrics.accuracy_score(y, p > 0.5) == pytest.approx(found["accuracy"])
    assert metrics.roc_auc_score(y, p) == pytest.approx(found["auroc"])
    assert metrics.log_loss(y, p) == pytest.approx(found["loss"])


def test_the_reported_loss_is_that_of_the_kept_epoch(
    finished: tuple[Training, Trained],
) -> None:
    """The loss in the manifest is the log loss of the member over validation rows."""
    training, trained = finished
    member = trained.manifest["members"][0]
    kept = next(e for e in member["epochs"] if 6 * e["epoch"] == member["best_step"])
    ensemble = load_members(
        [training.out / "member-01"],
        root=training.out,
        classes=("safe", "harmful"),
        max_length=16,
        max_windows=1,
        device="cpu",
        batch_tokens=512,
    )
    texts = [("", sample.judged.text) for sample in training.val.samples]
    logits = ensemble.read(texts, lambda _: None).values[:, 0].astype(float)
    y = [gold.label.value for gold in training.val.golds]

    p = np.exp(logits[:, 1]) / np.exp(logits).sum(axis=1)

    assert metrics.log_loss(y, p) == pytest.approx(kept["eval_loss"], rel=1e-4)


def test_measures_have_intervals_and_tell_disagreement(
    finished: tuple[Training, Trained],
) -> None:
    """Every member and pool has an interval; pairs of members are compared."""
    _, trained = finished

    test = [m for m in trained.measures if m.part == "test"]
    assert {"member-01", "member-02", "members"} <= {m.who for m in test}
    aurocs = [m for m in test if m.metric == "auroc"]
    assert 4 == len(aurocs)
    for m in aurocs:  # a perfect ranking has no spread to draw
        assert m.n == 24
        assert (m.low is None) == (m.value == 1.0)
    found = next(m for m in test if m.metric == "pairwise_disagreement")
    assert found.value is not None
    assert 0 <= found.value <= 1


class Interrupt:
    """Says nothing, and gives up as a user would after so many epochs."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def __call__(self, line: str) -> None:
        """Count the lines about epochs."""
        self.left -= "epoch" in line
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("arguments", "reports"),
    [
        ({}, 3),
        ({"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 5,
          "save_steps": 5}, 5),
    ],
    ids=["epochs", "steps"],
)  # fmt: skip
def test_a_resumed_training_ends_where_an_uninterrupted_one_does(
    make_training: MakeTraining, arguments: dict[str, Any], reports: int
) -> None:
    """Interrupted within the second member, resumed: equal to the last bit."""
    whole = make_training("whole", arguments=arguments)
    fit(whole)
    broken = make_training("broken", arguments=arguments, say=Interrupt(reports))
    with pytest.raises(KeyboardInterrupt):
        fit(broken)
    assert [FACTS] == [p.name for p in broken.out.glob(f"member-01/{FACTS}")]
    assert not (broken.out / "member-02").exists()
    stamp = (broken.out / "member-01" / FACTS).stat().st_mtime_ns

    lines: list[str] = []
    again = make_training("broken", arguments=arguments, resume=True, say=lines.append)
    fit(again)

    assert any("goes on after step" in line for line in lines)
    assert stamp == (broken.out / "member-01" / FACTS).stat().st_mtime_ns
    for member in ("member-01", "member-02"):
        assert same(whole.out / member, again.out / member)


def test_weights_stay_in_float32_where_arithmetic_is_in_bfloat16(
    make_training: MakeTraining,
) -> None:
    """Autocast changes what is learnt a little, and the stored numbers' format not."""
    plain = make_training("fp32", members=1, epochs=1.0)
    halved = make_training("bf16", members=1, epochs=1.0, precision="bf16")

    fit(plain)
    fit(halved)

    one, other = (weights(t.out / "member-01") for t in (plain, halved))
    assert {torch.float32} == {tensor.dtype for tensor in other.values()}
    gaps = [float((one[key] - other[key]).abs().max()) for key in one]
    assert 0 < max(gaps) < 0.1


def test_a_cpu_has_bfloat16_if_it_says_so(tmp_path: Path) -> None:
    """The flags of the CPU decide; without any, it has not."""
    info = tmp_path / "cpuinfo"
    for flags, expected in (("avx2 fma", False), ("avx512_bf16 amx_bf16", True)):
        info.write_text(f"flags\t\t: {flags}\n")
        assert expected is cpu_has_bf16(info)
    assert not cpu_has_bf16(tmp_path / "nothing")


def test_best_epoch_is_kept_and_training_stops_early(
    make_training: MakeTraining,
) -> None:
    """A perfect first epochs cannot be beaten: patience 1 ends the training."""
    training = make_training(members=1, epochs=30.0, patience=1)

    fit(training)

    facts = json.loads((training.out / "member-01" / FACTS).read_text())
    scores = [epoch["eval_f1"] for epoch in facts["epochs"]]
    assert len(scores) < 30
    assert facts["val_f1"] == max(scores)
    assert facts["best_step"] == 6 * (1 + scores.index(max(scores)))


def test_patience_is_remembered_over_an_interruption(
    make_training: MakeTraining,
) -> None:
    """Interrupted an epoch before patience ends, a resumed training ends there too."""
    settings = {"members": 1, "epochs": 30.0, "patience": 2}
    whole = make_training("whole", **settings)
    fit(whole)
    expected = json.loads((whole.out / "member-01" / FACTS).read_text())
    last = len(expected["epochs"])
    broken = make_training("broken", say=Interrupt(last - 1), **settings)
    with pytest.raises(KeyboardInterrupt):
        fit(broken)

    fit(make_training("broken", resume=True, **settings))

    found = json.loads((broken.out / "member-01" / FACTS).read_text())
    assert last < 30
    assert expected["epochs"] == found["epochs"]
    assert same(whole.out / "member-01", broken.out / "member-01")


def test_bagging_draws_other_rows_for_each_member(make_training: MakeTraining) -> None:
    """Draws of whole groups differ between members, and come back with the seed."""
    training = make_training(bagging=True)
    part = Part.of(training.train)
    part.groups[:] = [f"g{i // 2}" for i in range(48)]
    base = Base(training.out, "none")
    job = Job(
        options=training.options,
        bases=(base, base),
        out=training.out,
        train=part,
        val=part,
    )
    rows = [{"input_ids": [i]} for i in range(48)]

    draws = [drawn(job, member, rows) for member in (0, 1, 0)]

    assert draws[0] == draws[2] != draws[1]
    assert draws[0][1] != draws[1][1]
    times = Counter(row["input_ids"][0] for row in draws[0][0])
    assert all(times[i] == times[i + 1] for i in range(0, 48, 2))
    assert len({*times.values()}) > 1
    plain = replace(job, options=replace(job.options, bagging=False))
    assert (rows, None) == drawn(plain, 0, rows)


def test_members_may_differ_in_architecture_and_tokenizer(
    make_training: MakeTraining,
    tiny_base: Path,
    tmp_path: Path,
    new_tokenizer: Callable[..., None],
) -> None:
    """A BERT and a DistilBERT with other words learn, and are asked together."""
    other = tmp_path / "tiny-distilbert"
    config = transformers.DistilBertConfig(
        vocab_size=16, dim=32, n_layers=1, n_heads=2, hidden_dim=64,
        max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    transformers.DistilBertModel(config).save_pretrained(other)
    new_tokenizer(other, ("bomb", "bread", "poison", "garden", "how", "make"))

    training = make_training(epochs=2.0, bases=(str(tiny_base), str(other)))
    trained = fit(training)

    assert ["tiny-bert", "tiny-distilbert"] == trained.manifest["base"]
    kinds = [
        json.loads((training.out / name / "config.json").read_text())["model_type"]
        for name in ("member-01", "member-02")
    ]
    assert ["bert", "distilbert"] == kinds


def test_processes_of_a_launched_group_share_the_members(
    make_training: MakeTraining, monkeypatch: pytest.MonkeyPatch
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
        assert same(alone.out / member, training.out / member)


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

    assert expected == _own_gpu(Place(local, 4, local))
    assert _own_gpu(Place()) is None


def test_fields_of_the_training_library_are_passed_on() -> None:
    """Text becomes what the field holds; a misspelt name gets the nearest."""
    assert {"adam_beta2": 0.98} == check_arguments({"adam_beta2": "0.98"})
    with pytest.raises(OptionError, match="did you mean 'weight_decay'"):
        check_arguments({"weight_decai": 0.1})
    with pytest.raises(OptionError, match="--set output_dir: use --out"):
        check_arguments({"output_dir": "x"})


def test_fields_that_clash_are_one_line(make_training: MakeTraining) -> None:
    """What the library itself refuses is shown without a traceback."""
    with pytest.raises(OptionError, match=r"--set: .*[Ss]trateg"):
        fit(make_training(arguments={"save_strategy": "no"}))


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("./nowhere", "no folder ./nowhere"),
        ("{tmp}/tiny-bort", "no folder .*; did you mean 'tiny-bert'"),
        ("{tmp}/empty", "no config.json"),
    ],
)
def test_a_base_that_is_not_there_is_one_line(
    make_training: MakeTraining, tmp_path: Path, base: str, message: str
) -> None:
    """The message says what lacks, and the nearest name."""
    for name in ("tiny-bert", "empty"):
        (tmp_path / name).mkdir()

    with pytest.raises(ModelError, match=message):
        fit(make_training(base=base.format(tmp=tmp_path)))


def test_a_damaged_member_is_named(
    finished: tuple[Training, Trained], tmp_path: Path
) -> None:
    """A finished folder that lost its facts stops the training with a hint."""
    training, _ = finished
    shutil.copytree(training.out, tmp_path / "copy")
    (tmp_path / "copy" / "member-02" / FACTS).unlink()

    with pytest.raises(ModelError, match=r"member-02 is damaged.*--resume"):
        fit(replace(training, out=tmp_path / "copy", resume=True))


def test_options_refuse_what_cannot_be() -> None:
    """Counts below one and shares above one are told by name."""
    for wrong in (
        {"members": 0},
        {"lr": 0.0},
        {"warmup": 1.0},
        {"max_length": 2},
        {"device": "cuda:1"},
        {"bases": ("a", "b", "c"), "members": 2},
    ):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            TrainOptions(**wrong)


def test_defaults_are_the_published_recipe() -> None:
    """Six DistilBERTs, three epochs of batches of 16 at 1e-5."""
    options = TrainOptions()

    assert ("distilbert-base-uncased",) * 6 == options.chosen
    assert (3.0, 16, 1e-5, 256) == (
        options.epochs,
        options.batch_size,
        options.lr,
        options.max_length,
    )


@pytest.mark.slow
def test_worker_processes_train_the_same_members(make_training: MakeTraining) -> None:
    """Two processes at once give what one gives, member by member."""
    alone, workers = (
        make_training("alone", epochs=1.0),
        make_training("workers", epochs=1.0, parallel="processes", workers=2),
    )

    fit(alone)
    fit(workers)

    for member in ("member-01", "member-02"):
        assert same(alone.out / member, workers.out / member)


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
    guard = BertEnsemble(EnsembleOptions(model=str(out), device="cpu"))
    assert ["member-01", "member-02", "member-03"] == guard.ensemble.names
