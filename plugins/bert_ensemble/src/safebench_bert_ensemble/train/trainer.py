"""The trainer `bert_ensemble`: members or a baseline, then their test numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.training import ProgressBar, Trained
from safebench_bert_ensemble.model.checkpoints import load_members, read_member_metadata
from safebench_bert_ensemble.model.encoding import context_and_text
from safebench_bert_ensemble.model.evidence import (
    CLASS_POLARITY,
    CLASSES,
    build_evidence,
)
from safebench_bert_ensemble.model.location import find_base
from safebench_bert_ensemble.options import FROZEN_SUFFIX, TFIDF

from .evaluation import ensemble_measures
from .process_group import process_rank, train_members, wait_for_members
from .training_job import LabelledTexts, TrainingJob, training_overrides

if TYPE_CHECKING:
    from safebench.training import Measure, Training
    from safebench_bert_ensemble.options import TrainOptions


def fit(training: Training) -> Trained:
    """Train what the options name; finished members are kept, the rest goes on."""
    options: TrainOptions = training.options
    if options.base != TFIDF and not options.base.endswith(FROZEN_SUFFIX):
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
    options: TrainOptions = training.options
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
    return Trained(
        classifier=training.name,
        manifest={
            "base": [base.label for base in bases_used],
            "revision": [base.commit for base in bases_used],
            "members": members,
            "label_map": {name: i for i, name in enumerate(CLASSES)},
            "task": training.train.task,
            "pool": "mean_logits",
            "max_length": options.max_length,
        },
        measures=_measure_ensemble(job, training),
        notes=_notes(members),
    )


def _measure_ensemble(job: TrainingJob, training: Training) -> list[Measure]:
    """Return measures of the stored members on the validation and the test rows."""
    ensemble = load_members(
        [job.member_folder(i) for i in range(len(job.bases))],
        root=job.out,
        classes=CLASSES,
        max_length=job.options.max_length,
        max_windows=1,
        device=job.options.device,
        batch_tokens=job.options.eval_tokens,
    )
    measures: list[Measure] = []
    for name, dataset in (("val", training.val), ("test", training.test)):
        texts = [context_and_text(sample) for sample in dataset.samples]
        with ProgressBar(f"measuring on {name}", len(texts), "texts") as bar:
            output = ensemble.predict(texts, bar.move)
        evidence = build_evidence(
            output.values,
            output.windows.offsets,
            classes=ensemble.classes,
            polarity=CLASS_POLARITY,
            task=dataset.task,
            members=ensemble.names,
        )
        measures += ensemble_measures(evidence, dataset, name, training.seed)
    return measures


def _notes(members: list[dict[str, Any]]) -> list[str]:
    seconds = sum(member["seconds"] for member in members)
    how = f"in {members[0]['precision']} on {members[0]['device']}"
    return [f"{len(members)} members, {seconds:.0f} s of training, {how}"]
