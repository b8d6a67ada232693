"""The test part of a collection, with its two truths: people's labels, then the judge.

People's labels of responses are the first truth. The judge is the second: what teaches
a guard agrees with what it taught, whether or not it is right.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from safebench.errors import OptionError
from safebench_feedback_finetune.certify.holdout_sets import response_labels
from safebench_feedback_finetune.train.training_folder import (
    Annotation,
    read_annotations,
    read_test_split,
)

from .measurement import (
    BLOCK_RATE,
    COMPARED_BY_PEOPLE,
    HARM_RATE,
    GuardTestSet,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from safebench_feedback_finetune.collect.prompts import Prompt
    from safebench_feedback_finetune.registration import Registration

PEOPLE = "people's labels of the responses"
# Labels are 0 and 1; any threshold between tells them apart.
_LABEL_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class HeldOutSets:
    """The test part by each of its truths, the first truth first; notes for readers.

    `n_seen` counts prompts left out since the judge learnt from one like them.
    """

    sets: list[GuardTestSet]
    notes: list[str] = field(default_factory=list)
    n_seen: int = 0


def held_out_sets(
    out: Path, manifest: Mapping[str, Any], limit: int | None = None
) -> HeldOutSets:
    """Return the test part of a training, by people's labels where there are any."""
    prompts, cluster_of = read_test_split(out)
    annotations = read_annotations(out)
    notes = []
    if annotations is None:
        notes.append(
            "trained by an earlier version, which kept no people's labels of "
            "responses: the judge is the only truth; train into a new folder"
        )
    known = annotations or {}
    saw = {key for key, annotation in known.items() if annotation.judge_saw}
    limited = prompts[:limit]
    evaluated = [p for p in limited if p.id not in saw]
    n_seen = len(limited) - len(evaluated)
    if n_seen:
        notes.append(f"{n_seen} prompts left out: the judge learnt from some like them")
    people = [_by_people(p, known[p.id]) for p in evaluated if _has_labels(known, p)]
    if annotations is not None and not people:
        notes.append(
            "no people's labels of responses in this collection: the judge is the only "
            "truth"
        )
    elif people and len(people) < len(evaluated):
        unlabelled = len(evaluated) - len(people)
        notes.append(f"{unlabelled} prompts have no people's labels of responses")
    agreement = float(manifest["identity"]["options"]["agreement"])
    sets = []
    if people:
        sets.append(
            _test_set(manifest, people, cluster_of, _LABEL_THRESHOLD, agreement)
        )
        sets[0] = replace(
            sets[0], task=HARM_RATE, truth=PEOPLE, compared=COMPARED_BY_PEOPLE
        )
    judged = [p for p in evaluated if p.p_out]
    threshold = float(manifest["threshold"])
    by_judge = _test_set(manifest, judged, cluster_of, threshold, agreement)
    sets.append(replace(by_judge, truth=judge_truth(manifest)))
    return HeldOutSets(sets, notes, n_seen)


def _has_labels(annotations: Mapping[str, Annotation], prompt: Prompt) -> bool:
    return prompt.id in annotations and bool(annotations[prompt.id].harmful)


def _by_people(prompt: Prompt, annotation: Annotation) -> Prompt:
    """Return the prompt with people in the place of the judge."""
    return replace(prompt, p_out=tuple(map(float, annotation.harmful)), responses=())


def _test_set(
    manifest: Mapping[str, Any],
    prompts: Sequence[Prompt],
    cluster_of: Mapping[str, str],
    threshold: float,
    agreement: float,
) -> GuardTestSet:
    """Return prompts labelled by their responses, harmful from `threshold` on."""
    labels = response_labels(
        prompts, cluster_of, threshold=threshold, agreement=agreement
    )
    sources = manifest["collected"]["sources"] or [{"name": "collected"}]
    names = dict.fromkeys(source["name"].partition(":")[0] for source in sources)
    return GuardTestSet(
        "+".join(names),
        BLOCK_RATE,
        labels.prompts,
        labels.harmful,
        labels.groups,
        response_threshold=threshold,
    )


def judge_truth(manifest: Mapping[str, Any]) -> str:
    """Return who judged the responses of a collection, in words."""
    judge = manifest["collected"].get("judge")
    if judge:
        return f"verdicts of {judge['label']}"
    return "verdicts of the base guard on the responses"


def truths_text(held_out: HeldOutSets) -> str:
    """Return a line for each truth of the held-out prompts, and the notes."""
    ranks = ("first", "second")
    lines = [
        f"{test_set.task}, the {rank} truth: {test_set.truth}, "
        f"{len(test_set.y)} prompts"
        for rank, test_set in zip(ranks, held_out.sets, strict=False)
    ]
    if len(lines) == 1:
        lines = [lines[0].replace("the first truth", "the only truth")]
    return "\n".join([*lines, *held_out.notes])


def check_independent(
    registration: Registration, manifest: Mapping[str, Any], held_out: HeldOutSets
) -> None:
    """Raise OptionError where a registered truth or a judge's independence is missing.

    Prompts like those that the judge learnt from are left out already; what it learnt
    from must be known for that.
    """
    truth = registration.content["truth"]
    tasks = [test_set.task for test_set in held_out.sets]
    if truth not in tasks:
        raise OptionError(
            f"{registration.file} registers the truth {truth!r}, and this training has "
            f"{', '.join(tasks)}"
        )
    judge = manifest["collected"].get("judge")
    if judge and judge.get("trained_on_unknown"):
        raise OptionError(
            "a registered judge has to be independent of the test part, and that is "
            f"not known: {judge['trained_on_unknown']}"
        )
