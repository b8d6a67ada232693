"""What a training is asked: its defaults, and what it refuses in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import ModelError, OptionError
from safebench.torch_utils import ModelFolder
from safebench_bert_ensemble.options import EnsembleTrainOptions
from safebench_bert_ensemble.train.trainer import check, fit
from safebench_bert_ensemble.train.training_job import (
    LabelledTexts,
    TrainingJob,
    training_overrides,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.training import Training

    MakeTraining = Callable[..., Training]


def test_defaults_are_the_published_recipe() -> None:
    """Six DistilBERTs, three epochs of batches of 16 at 1e-5."""
    options = EnsembleTrainOptions()

    assert ("distilbert-base-uncased",) * 6 == options.member_bases
    assert (3.0, 16, 1e-5, 256) == (
        options.epochs,
        options.batch_size,
        options.lr,
        options.max_length,
    )


def test_options_refuse_what_cannot_be() -> None:
    """Counts below one and shares above one are told by name."""
    for wrong in (
        {"members": 0},
        {"lr": 0.0},
        {"warmup": 1.0},
        {"max_length": 2},
        {"device": "cuda:1"},
        {"bases": ("a", "b", "c"), "members": 2},
        {"bases": ("a", "minilm-frozen")},
    ):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            EnsembleTrainOptions(**wrong)


def test_fields_of_the_training_library_are_passed_on() -> None:
    """Text becomes what the field holds; a misspelt name gets the nearest."""
    checked = training_overrides({"adam_beta2": "0.98"})
    assert {"adam_beta2": 0.98} == checked.values
    with pytest.raises(OptionError, match="did you mean 'weight_decay'"):
        training_overrides({"weight_decai": 0.1})
    with pytest.raises(OptionError, match="--set output_dir: use --out"):
        training_overrides({"output_dir": "x"})


def test_fields_that_clash_are_one_line(make_training: MakeTraining) -> None:
    """What the library itself refuses is shown without a traceback."""
    with pytest.raises(OptionError, match=r"--set: .*[Ss]trateg"):
        fit(make_training(arguments={"save_strategy": "no"}))


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("./nowhere", "'./nowhere': no such folder"),
        ("{tmp}/tiny-bort", "no such folder; did you mean 'tiny-bert'"),
        ("{tmp}/empty", "no config.json"),
        ("./tfdf", "did you mean 'tfidf'"),
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


@pytest.mark.parametrize(
    "options", [{"base": "./gone"}, {"base": "./gone-frozen"}, {"bases": ("./gone",)}]
)
def test_a_base_is_looked_for_before_data_are_read(options: dict[str, Any]) -> None:
    """After what was set wrong, which costs no look."""
    with pytest.raises(ModelError, match=r"'\./gone': no such folder"):
        check(EnsembleTrainOptions(**options), {})
    with pytest.raises(OptionError, match="--set weight_decai"):
        check(EnsembleTrainOptions(**options), {"weight_decai": 1})


@pytest.mark.slow
def test_arguments_that_need_what_is_not_installed_are_one_line(
    make_training: MakeTraining,
) -> None:
    """An optimizer of another package, and a tracker, are named before any epoch."""
    for arguments in ({"optim": "adamw_bnb_8bit"}, {"report_to": "tensorboard"}):
        with pytest.raises(OptionError, match=next(iter(arguments.values()))) as error:
            fit(make_training(arguments=arguments))
        assert "\n" not in error.value.message


def test_a_job_is_handed_on_as_text(make_training: MakeTraining) -> None:
    """What a worker reads is the job that its parent wrote, to the last field."""
    training = make_training(bagging=True, arguments={"max_steps": 3})
    job = TrainingJob(
        options=training.options,
        bases=(ModelFolder(training.out, "a", "c"), ModelFolder(training.out, "b")),
        out=training.out,
        train=LabelledTexts.from_dataset(training.train),
        val=LabelledTexts.from_dataset(training.val),
        seed=7,
        arguments=training.arguments,
    )

    assert job == TrainingJob.from_json(job.to_json())
