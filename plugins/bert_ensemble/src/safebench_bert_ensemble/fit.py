"""The trainer `bert_ensemble`: members or a baseline, then their test numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.run.progress import progress
from safebench.training.job import Trained

from .arguments import check_arguments
from .bases import find_base
from .encoding import read_text
from .job import CLASSES, Job, Part
from .measures import ensemble_measures
from .options import FROZEN, TFIDF
from .parallel import place, run_members, wait_for
from .trained import finished_facts, load_members, member_logits

if TYPE_CHECKING:
    from safebench.training.job import Measure, Training

    from .options import TrainOptions


def fit(training: Training) -> Trained:
    """Train what the options name; finished members are kept, the rest goes on."""
    options: TrainOptions = training.options
    if options.base != TFIDF and not options.base.endswith(FROZEN):
        return fit_ensemble(training)
    if not place().leads:  # a baseline has no members to share
        return Trained(classifier=training.name, manifest={})
    if options.base == TFIDF:
        from .tfidf import fit_tfidf

        return fit_tfidf(training)
    from .frozen import fit_frozen

    return fit_frozen(training)


def fit_ensemble(training: Training) -> Trained:
    """Train the members that are not there yet, and measure all of them."""
    options: TrainOptions = training.options
    arguments = check_arguments(training.arguments)
    names = dict.fromkeys(options.chosen)
    found = {name: find_base(name, options.revision) for name in names}
    job = Job(
        options=options,
        bases=tuple(found[name] for name in options.chosen),
        out=training.out,
        train=Part.of(training.train),
        val=Part.of(training.val),
        seed=training.seed,
        arguments=arguments,
    )
    training.out.mkdir(parents=True, exist_ok=True)
    here = place()
    run_members(job, here, training.say)
    if not here.leads:
        return Trained(classifier=training.name, manifest={})
    wait_for(job)
    return _trained(job, training)


def _trained(job: Job, training: Training) -> Trained:
    facts = finished_facts(job)
    options = job.options
    ensemble = load_members(
        [job.folder(i) for i in range(len(job.bases))],
        root=job.out,
        classes=CLASSES,
        max_length=options.max_length,
        max_windows=1,
        device=options.device,
        batch_tokens=options.eval_tokens,
    )
    measures: list[Measure] = []
    for part, dataset in (("val", training.val), ("test", training.test)):
        texts = [read_text(sample) for sample in dataset.samples]
        with progress(f"measuring on {part}", len(texts)) as tick:
            logits = member_logits(ensemble, texts, dataset.task, tick)
        measures += ensemble_measures(logits, dataset, part, training.seed)
    return Trained(
        classifier=training.name,
        manifest={
            "base": [base.label for base in dict.fromkeys(job.bases)],
            "revision": [base.revision for base in dict.fromkeys(job.bases)],
            "members": facts,
            "label_map": {name: i for i, name in enumerate(CLASSES)},
            "task": training.train.task,
            "pool": "mean_logits",
            "max_length": options.max_length,
        },
        measures=measures,
        notes=_notes(facts),
    )


def _notes(facts: list[dict[str, Any]]) -> list[str]:
    seconds = sum(member["seconds"] for member in facts)
    how = f"in {facts[0]['precision']} on {facts[0]['device']}"
    return [f"{len(facts)} members, {seconds:.0f} s of training, {how}"]
