"""The trainer `cost_model`: networks or the baseline, calibrated and measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import set_seed

from safebench.errors import OptionError
from safebench.torch_utils import DataParallelTrainer
from safebench.training import Trained
from safebench_cost_model.model.artifact import KIND
from safebench_cost_model.model.location import find_base
from safebench_cost_model.model.network import model_family
from safebench_cost_model.model.platt_scaling import fit_platt
from safebench_cost_model.options import STACK, TFIDF

from .cross_fit import check_cross_fit, check_prompts, cross_fit
from .dataset import SINGLES, load_splits
from .evaluation import accuracy_measures, cost_measures
from .fitted import FittedBase
from .hf_trainer import training_arguments
from .precision import quantization
from .prepared_model import build_manifest, prepare_model, weights_folder_name
from .sft import run_sft, sft_stage
from .training_loop import free_memory, list_members, train_member

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.torch_utils import ModelFolder
    from safebench.training import Measure, Training
    from safebench.typing import Array
    from safebench_cost_model.model.network import Family
    from safebench_cost_model.model.platt_scaling import PlattScaling
    from safebench_cost_model.options import CostTrainOptions

    from .dataset import PairSplits
    from .fitted import FitBase
    from .singles import SingleResponse
    from .training_loop import CostMember


def check(options: CostTrainOptions, arguments: Mapping[str, Any]) -> None:
    """Raise `OptionError` for what the library would refuse, before data are read."""
    check_cross_fit(options)
    if options.base in (TFIDF, STACK):
        if arguments:
            raise OptionError(
                f"--set {next(iter(arguments))}: the base {options.base} is not "
                "trained in steps; leave --set out"
            )
        if options.base == STACK:
            check_encoder(options)
        return
    quantization(options)
    values: dict[str, Any] = {"rows": options.batch, "lr": 1e-4, "seed": 0}
    stages = (None, sft_stage(options)) if options.sft else (None,)
    for stage in stages:
        # Of a folder that none of this makes.
        training_arguments(
            options, Path("checkpoints"), overrides=arguments, stage=stage, **values
        )
    # After the arguments: a base may have to be fetched first.
    base = find_base(options.base, options.revision)
    check_family(options, base.label, model_family(base.config(), base.label))


def check_encoder(options: CostTrainOptions) -> None:
    """Raise `OptionError` for an encoder of a stack that is none."""
    base = find_base(options.encoder, options.revision)
    if model_family(base.config(), base.label) != "encoder":
        raise OptionError(
            f"--encoder: {base.label} is a decoder; minilm, or another sentence "
            "encoder, would work"
        )


def check_family(options: CostTrainOptions, label: str, family: Family) -> None:
    """Raise `OptionError` for what encoders are not asked to do."""
    if family == "decoder":
        return
    if options.sft:
        raise OptionError(
            f"--sft: {label} is an encoder and writes nothing; leave --sft out"
        )
    if options.quantize != "none":
        raise OptionError(
            f"--quantize: {label} is an encoder, which is trained whole; weights in 4 "
            "bits do not learn"
        )


def fit(training: Training) -> Trained:
    """Train what the options name, and return its measures and manifest."""
    if training.options.cross_fit:
        check_prompts(training)  # before the model that is kept is trained
    fit_base = base_fitter(training)
    trained = fit_base(training, ()).finish()
    if not training.options.cross_fit:
        return trained
    measures = cross_fit(training, trained.classifier, fit_base)
    return replace(trained, measures=[*trained.measures, *measures])


def base_fitter(training: Training) -> FitBase:
    """Return what fits the base of a training, and those of its folds."""
    options: CostTrainOptions = training.options
    # Here, because they import scikit-learn or SciPy's sparse arrays.
    if options.base == TFIDF:
        from .baseline import fit_baseline

        return fit_baseline
    if options.base == STACK:
        from .stack import StackTrainer

        return StackTrainer.of(options)
    for line in DataParallelTrainer.group_lines(options.batch, "pairs"):
        training.say(line)
    return fit_networks


def fit_networks(
    training: Training, unseen_singles: Sequence[SingleResponse] = ()
) -> FittedBase:
    """Train networks on a base; the mean of their costs is the model's."""
    options: CostTrainOptions = training.options
    base = find_base(options.base, options.revision)
    family = model_family(base.config(), base.label)
    check_family(options, base.label, family)
    learnt_from = base
    if options.sft:
        base = run_sft(training, base)
    members = list_members(training, weights_folder_name(family, options))
    splits = train_members(members, base, family, training, unseen_singles)
    costs = {member.name: member.read_costs() for member in members}
    mean_costs = {
        name: np.mean([member[name] for member in costs.values()], axis=0)
        for name in splits.scored
    }
    unsafe = splits.val.labels.unsafe
    platt = fit_platt(mean_costs["val"].reshape(-1), unsafe.reshape(-1))
    singles = mean_costs.get(SINGLES, np.zeros((0, 2)))

    def finish() -> Trained:
        return Trained(
            classifier=KIND,
            manifest=build_manifest(base, family, splits.encoder, training, platt)
            | ({"sft_base": learnt_from.base_record()} if options.sft else {}),
            measures=_measures(splits, mean_costs, costs, platt),
            notes=_notes(options, platt),
        )

    return FittedBase(
        finish=finish,
        pairs=splits.test.pairs,
        costs=mean_costs["test"],
        single_costs=singles[:, 0],
        platt=platt,
    )


def _notes(options: CostTrainOptions, platt: PlattScaling | None) -> list[str]:
    notes = [] if platt else ["costs on val allow no calibration: no cost_platt"]
    if options.quantize != "none":
        notes.append(
            "learnt and measured on a base in 4 bits; it classifies on the whole base, "
            "whose costs differ a little"
        )
    return notes


def train_members(
    members: Sequence[CostMember],
    base: ModelFolder,
    family: Family,
    training: Training,
    unseen_singles: Sequence[SingleResponse] = (),
) -> PairSplits:
    """Train the members that are not finished, one after another.

    Returns the splits of the data, which all of them share.
    """
    finished = [member for member in members if member.finished]
    unfinished = [member for member in members if member not in finished]
    for member in finished:
        training.say(f"{member.line_prefix}trained already")
        member.remove_checkpoints()
    splits: PairSplits | None = None
    # With nothing left to train, a model is prepared for its tokenizer alone.
    for member in unfinished or members[:1]:
        set_seed(member.seed)
        model = prepare_model(base, family, training.options)
        splits = splits or load_splits(training, model.encoder, unseen_singles)
        if unfinished:
            train_member(model, member, splits, training)
        del model
        free_memory()
    assert splits is not None, "no members"
    return splits


def _measures(
    splits: PairSplits,
    mean_costs: dict[str, Array],
    costs: dict[str, dict[str, Array]],
    platt: PlattScaling | None,
) -> list[Measure]:
    """Return measures of the mean cost; those of members show what it gains."""
    measures: list[Measure] = []
    for name, split in splits.evaluated.items():
        measures += cost_measures(
            split.labels, mean_costs[name], who=KIND, split=name, platt=platt
        )
        if len(costs) > 1:
            for member, values in costs.items():
                measures += accuracy_measures(
                    split.labels, values[name], who=member, split=name
                )
    return measures
