"""Which classifiers are run on which datasets: those whose task they answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.errors import IncompatibleError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.records import Dataset

    from .evaluation_set import EvaluationSet
    from .resolved import ResolvedClassifier


def assign(
    classifiers: Sequence[ResolvedClassifier], evaluation_sets: Sequence[EvaluationSet]
) -> list[tuple[ResolvedClassifier, list[EvaluationSet]]]:
    """Give each classifier the datasets whose task it answers.

    Raises `IncompatibleError` where there is none for any.
    """
    assignments = [(c, sets_of(c, evaluation_sets)) for c in classifiers]
    if not any(sets for _, sets in assignments):
        raise IncompatibleError(_why_nothing_fits(classifiers, evaluation_sets))
    return [(c, sets) for c, sets in assignments if sets]


def _why_nothing_fits(
    classifiers: Sequence[ResolvedClassifier], evaluation_sets: Sequence[EvaluationSet]
) -> str:
    unread = [
        f"{c.label} x {s.dataset.label}: {unfit_reason(c, s.dataset)}"
        for c in classifiers
        for s in evaluation_sets
        if s.dataset.task in c.tasks
    ]
    if unread:  # the task is answered, the data cannot be shown
        return "\n  ".join(unread)
    tasks = sorted({s.dataset.task for s in evaluation_sets})
    answers = "\n  ".join(_describe_answers(c, tasks) for c in classifiers)
    return f"no classifier answers the task {', '.join(tasks)}\n  {answers}"


def sets_of(
    classifier: ResolvedClassifier, evaluation_sets: Sequence[EvaluationSet]
) -> list[EvaluationSet]:
    """Return the datasets whose task a classifier answers."""
    return [s for s in evaluation_sets if not unfit_reason(classifier, s.dataset)]


def _describe_answers(classifier: ResolvedClassifier, wanted: Sequence[str]) -> str:
    """Say what a classifier answers, and what of `wanted` other options would give."""
    answers = f"{classifier.label} answers {', '.join(sorted(classifier.tasks))}"
    others = [task for task in wanted if task in classifier.spec.tasks]
    return answers + (f" (with other options {', '.join(others)})" if others else "")


def unfit_reason(classifier: ResolvedClassifier, dataset: Dataset) -> str:
    """Say why a classifier cannot be run on a dataset; "" if it can."""
    if dataset.task not in classifier.tasks:
        return f"it does not answer {dataset.task}"
    if not classifier.reads_documents and dataset.columns.documents.any():
        return "its rows have documents, and the classifier reads none"
    return ""
