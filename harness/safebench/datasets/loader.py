"""Load a dataset: call its reader and split the examples into samples and ground truth.

Classifiers get the samples, metrics the ground truth. Ids, groups and counts of
irregularities are the same for every reader because they are made here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from safebench.console import echo
from safebench.errors import DataError, OptionError
from safebench.isolation import isolated
from safebench.records import (
    RESPONSE_TASKS,
    Dataset,
    GroundTruth,
    Sample,
    Turn,
    content_hash,
)

from .expectations import check_expectations, require_revision
from .request import WHOLE, Example, LoadReport
from .row_errors import summarise_errors
from .splits import subsample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .request import DatasetRequest


# Keys of `Dataset.counts`, and their names in messages.
IRREGULARITIES = {
    "duplicates": "duplicates",
    "conflicting_duplicates": "duplicates with conflicting labels",
    "empty_responses": "empty responses",
    "label_conflicts": "labels that contradict their categories",
    "unknown_labels": "unknown labels",
    "skipped": "skipped",
}


def load_dataset(
    request: DatasetRequest,
    say: Callable[[str], None] | None = None,
    *,
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Read the split that a request names; with `limit`, whole groups of at most that.

    What is irregular but not fatal is counted in `Dataset.counts`. `say` gets messages
    about what was decided about the data, and a list of skipped rows (default: print
    them to standard error). Raises `DataError` if the split cannot be read or has no
    rows.
    """
    # Readers write to the report: a request may be loaded twice.
    report = LoadReport()
    request = replace(request, report=report)
    require_revision(request)
    read = request.spec.code()
    with isolated(request.spec, pass_os_errors=True):
        examples = list(read(request))
        for example in examples:
            if not isinstance(example, Example):
                raise TypeError(f"yielded a {type(example).__name__}, no Example")
    check_expectations(request, report)
    for note in report.notes:
        (say or _print_to_stderr)(note)
    if not examples:
        raise DataError(f"no rows in dataset {request.label}{_skipped_reasons(report)}")
    task = report.task or request.spec.task
    if request.turns == "all":
        examples = [whole_conversation(example, task) for example in examples]
    samples, truths = _samples_and_truths(
        examples, f"{request.name}/{request.split}", task
    )
    if n_skipped := len(report.skipped):
        (say or _print_to_stderr)(
            f"{request.label}: {n_skipped} {'row' if n_skipped == 1 else 'rows'} "
            f"left out{_skipped_reasons(report)}"
        )
    dataset = Dataset(
        name=request.name,
        config=request.label_config,
        split=request.split,
        task=task,
        policy=report.policy or request.spec.policy,
        revision=report.revision or request.spec.revision or "unknown",
        samples=samples,
        ground_truth=truths,
        counts=_count_irregularities(samples, truths, len(report.skipped)),
        contaminates=report.contaminates or request.spec.contaminates,
        licence=report.licence or (request.spec.licence if request.spec.hub_id else ""),
        mix=report.mix,
    )
    return subsample(dataset, limit, seed) if limit else dataset


def whole_conversation(example: Example, task: str) -> Example:
    """Return an example whose turns up to the judged one are one text, roles included.

    A single turn stays as it is. Raises `OptionError` for a task that judges an answer.
    """
    if task in RESPONSE_TASKS:
        raise OptionError(
            f"{WHOLE} is for tasks that judge what a user says; {task} judges an "
            "answer, which guards read after the turns before it"
        )
    turns = example.turns[: example.target % len(example.turns) + 1]
    if len(turns) == 1:
        return replace(example, turns=turns, target=0)
    text = "\n".join(f"{turn.role}: {turn.text}" for turn in turns)
    # the group of the turns: copies that differ in layout alone stay together
    group = example.group or prompt_group(example.turns)
    return replace(example, turns=(Turn("user", text),), target=0, group=group)


def _print_to_stderr(message: str) -> None:
    echo(message, err=True)


def _skipped_reasons(report: LoadReport) -> str:
    return f"\n{summarise_errors(report.skipped)}" if report.skipped else ""


def _samples_and_truths(
    examples: Iterable[Example], prefix: str, task: str
) -> tuple[list[Sample], list[GroundTruth]]:
    samples, truths = [], []
    copies: Counter[str] = Counter()
    first_with_id: dict[str, str] = {}
    for example in examples:
        content = content_hash(example.turns, example.documents)
        sample_id = example.id
        if sample_id is None:
            # From the content: the id stays the same when rows are added, removed or
            # put in another order.
            suffix = f"-{copies[content]}" if copies[content] else ""
            sample_id = f"{prefix}/{content[:12]}{suffix}"
        elif sample_id in first_with_id:
            raise DataError(
                f"{example.where}: id {sample_id!r} repeats {first_with_id[sample_id]}"
            )
        else:
            first_with_id[sample_id] = example.where
        copies[content] += 1
        samples.append(_sample(example, sample_id, task))
        truths.append(_ground_truth(example))
    return samples, truths


def _sample(example: Example, sample_id: str, task: str) -> Sample:
    return Sample(
        id=sample_id,
        turns=example.turns,
        task=task,
        target=example.target,
        documents=example.documents,
        group=example.group or _group(example),
        language=example.language,
        transform=example.transform,
        meta=example.meta,
    )


def _ground_truth(example: Example) -> GroundTruth:
    return GroundTruth(
        label=example.label,
        categories=example.categories,
        known=example.known,
        pair=example.pair,
        meta=example.gold_meta,
    )


def _group(example: Example) -> str:
    """Return the group of a row without one: claims about one text stay together."""
    if not example.documents:
        return prompt_group(example.turns)
    return content_hash((), example.documents)[:16]


def prompt_hash(turns: tuple[Turn, ...]) -> str:
    """Return the content hash of the prompt: equal whatever follows it."""
    return content_hash((Turn("user", first_prompt(turns)),))


def prompt_group(turns: tuple[Turn, ...]) -> str:
    """Return the group of a sample whose source names none: one for each prompt."""
    return prompt_hash(turns)[:16]


def first_prompt(turns: tuple[Turn, ...]) -> str:
    """Return the text of the first user turn, or of the first turn if there is none."""
    return next((turn.text for turn in turns if turn.role == "user"), turns[0].text)


def _count_irregularities(
    samples: list[Sample], truths: list[GroundTruth], skipped: int
) -> dict[str, int]:
    """Return counts under the keys of `IRREGULARITIES`, without zeros."""
    labels: dict[str, set[bool | None]] = {}
    for sample, truth in zip(samples, truths, strict=True):
        labels.setdefault(sample.content, set()).add(truth.label.value)
    counts = {
        "duplicates": len(samples) - len(labels),
        "conflicting_duplicates": sum(len(values) > 1 for values in labels.values()),
        "empty_responses": sum(_empty_response(sample) for sample in samples),
        "label_conflicts": sum(_label_contradicts_categories(t) for t in truths),
        "unknown_labels": sum(truth.label.value is None for truth in truths),
        "skipped": skipped,
    }
    return {name: count for name, count in counts.items() if count}


def _empty_response(sample: Sample) -> bool:
    judged = sample.judged
    return judged.role == "assistant" and not judged.text.strip()


def _label_contradicts_categories(truth: GroundTruth) -> bool:
    # With categories annotated in part, an unsafe row may well have none of them.
    if truth.categories is None or truth.label.value is None or truth.known is not None:
        return False
    return truth.label.value != bool(truth.categories)
