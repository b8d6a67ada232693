"""The trainer `bert_ensemble`: members or a baseline, then their test numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.errors import OptionError
from safebench.torch_utils import Placement
from safebench.training import ProgressBar, Trained
from safebench_bert_ensemble.model.calibration import META_KEY, read_calibration
from safebench_bert_ensemble.model.checkpoints import load_members, read_member_metadata
from safebench_bert_ensemble.model.encoding import context_and_text
from safebench_bert_ensemble.model.evidence import (
    CLASS_POLARITY,
    CLASSES,
    build_evidence,
)
from safebench_bert_ensemble.model.location import find_base
from safebench_bert_ensemble.options import FROZEN_SUFFIX, TFIDF

from .evaluation import ensemble_measures, fit_calibrations
from .hardware import pick_precision
from .process_group import (
    hide_process_group,
    process_rank,
    train_members,
    wait_for_members,
)
from .training_job import (
    LabelledTexts,
    TrainingJob,
    training_arguments,
    training_overrides,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.evidence import MemberLogits
    from safebench.training import Training
    from safebench_bert_ensemble.options import EnsembleTrainOptions


def check(options: EnsembleTrainOptions, arguments: Mapping[str, Any]) -> None:
    """Raise before data are read: `OptionError` for what the library would refuse.

    `ModelError` for a base that is nowhere, or not whole.
    """
    if options.is_baseline:
        if arguments:
            raise OptionError(
                f"--set {next(iter(arguments))}: the baseline {options.base} is not "
                "trained in steps; leave --set out"
            )
    else:
        with hide_process_group(process_rank()):
            device = Placement.choose(options.device, "float32").device
            precision = pick_precision(options.precision, device)
            folder = Path("checkpoints")  # which none of this makes
            training_arguments(options, folder, (0, 0), device, precision, arguments)
    bases = (options.base,) if options.is_baseline else options.member_bases
    for name in dict.fromkeys(bases):
        if name != TFIDF:
            find_base(name.removesuffix(FROZEN_SUFFIX), options.revision)


def fit(training: Training) -> Trained:
    """Train what the options name; finished members are kept, the rest goes on."""
    options: EnsembleTrainOptions = training.options
    if not options.is_baseline:
        return fit_ensemble(training)
    if not process_rank().is_main:  # a baseline has no members to share
        return Trained(classifier=training.name, manifest={})
    # Here, because it imports scikit-learn.
    from .baselines import fit_frozen, fit_tfidf

    return fit_tfidf(training) if options.base == TFIDF else fit_frozen(training)


def fit_ensemble(training: Training) -> Trained:
    """Train the members that are not there yet, and measure all of them.

    In a launched group the main process measures; the others return an empty result.
    """
    options: EnsembleTrainOptions = training.options
    arguments = training_overrides(training.arguments).values
    names = dict.fromkeys(options.member_bases)
    bases = {name: find_base(name, options.revision) for name in names}
    job = TrainingJob(
        options=options,
        bases=tuple(bases[name] for name in options.member_bases),
        out=training.out,
        train=LabelledTexts.from_dataset(training.train),
        val=LabelledTexts.from_dataset(training.val),
        seed=training.seed,
        arguments=arguments,
    )
    training.out.mkdir(parents=True, exist_ok=True)
    process = process_rank()
    train_members(job, process, training.say)
    if not process.is_main:
        return Trained(classifier=training.name, manifest={})
    wait_for_members(job)
    members = [
        read_member_metadata(job.member_folder(i)) for i in range(len(job.bases))
    ]
    bases_used = list(dict.fromkeys(job.bases))
    evidence = _predict_splits(job, training)
    weights = job.class_weights()
    calibration = fit_calibrations(
        evidence["val"], training.val, weighted=bool(weights)
    )
    for split in evidence.values():
        split.meta[META_KEY] = calibration["pools"]
    return Trained(
        classifier=training.name,
        manifest={
            "base": [base.label for base in bases_used],
            "revision": [base.commit for base in bases_used],
            "bases": [base.base_record() for base in bases_used],
            "members": members,
            "label_map": {name: i for i, name in enumerate(CLASSES)},
            "task": training.train.task,
            "pool": "mean_logits",
            "max_length": options.max_length,
            "calibration": calibration,
            **({"class_weights": list(weights)} if weights else {}),
        },
        measures=[
            measure
            for name, split in evidence.items()
            for measure in ensemble_measures(
                split, getattr(training, name), name, training.seed
            )
        ],
        notes=[*_notes(members), *_calibration_notes(calibration, weights)],
    )


def _predict_splits(job: TrainingJob, training: Training) -> dict[str, MemberLogits]:
    """Return what the stored members say of the validation and the test rows."""
    ensemble = load_members(
        [job.member_folder(i) for i in range(len(job.bases))],
        root=job.out,
        classes=CLASSES,
        max_length=job.options.max_length,
        max_windows=1,
        device=job.options.device,
        batch_tokens=job.options.eval_tokens,
    )
    evidence: dict[str, MemberLogits] = {}
    for name, dataset in (("val", training.val), ("test", training.test)):
        texts = [context_and_text(sample) for sample in dataset.samples]
        with ProgressBar(f"measuring on {name}", len(texts), "texts") as bar:
            output = ensemble.predict(texts, bar.move)
        evidence[name] = build_evidence(
            output.values,
            output.windows.offsets,
            classes=ensemble.classes,
            polarity=CLASS_POLARITY,
            task=dataset.task,
            members=ensemble.names,
        )
    return evidence


def _calibration_notes(
    calibration: dict[str, Any], weights: tuple[float, ...]
) -> list[str]:
    """Return lines on what calibration was fitted, and what class weights did."""
    notes = []
    for pool, content in calibration["pools"].items():
        fitted = read_calibration(content)
        reason = content.get("none", "")
        notes.append(
            f"{pool}: {fitted.described if fitted else f'no calibration: {reason}'}"
        )
    if weights:
        shift = math.log(weights[1] / weights[0])
        notes.append(
            f"class weights {weights[0]:.3g} (safe), {weights[1]:.3g} (harmful) move "
            f"the members' log-odds of harm by about {shift:+.2f}, and decisions with "
            "them; calibrated probabilities take it back, decisions keep it"
        )
    return notes


def _notes(members: list[dict[str, Any]]) -> list[str]:
    seconds = sum(member["seconds"] for member in members)
    how = f"in {members[0]['precision']} on {members[0]['device']}"
    return [f"{len(members)} members, {seconds:.0f} s of training, {how}"]
