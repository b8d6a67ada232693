"""Load a dataset: call its reader and split the examples into samples and ground truth.

Classifiers get the samples, metrics the ground truth. Ids, groups and counts of
irregularities are the same for every reader because they are made here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from safebench.console import echo
from safebench.errors import DataError, OptionError
from safebench.isolation import isolated
from safebench.records import RESPONSE_TASKS, Dataset, Turn, content_hash

from .expectations import check_expectations, require_revision
from .record_spool import RecordSpool
from .request import WHOLE, Example, LoadReport
from .row_bytes import ROWS_DIGEST
from .row_errors import summarise_errors
from .splits import subsample

if TYPE_CHECKING:
    from collections.abc import Callable

    from .record_spool import ReadRecords
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
    spool: RecordSpool | None = None
    with isolated(request.spec, pass_os_errors=True):
        for example in read(request):
            if not isinstance(example, Example):
                raise TypeError(f"yielded a {type(example).__name__}, no Example")
            if spool is None:
                spool = RecordSpool(f"{request.name}/{request.split}")
            task = report.task or request.spec.task
            if request.turns == "all":
                example = whole_conversation(example, task)  # noqa: PLW2901 - as it is judged
            spool.add(example, _group, task)
    check_expectations(request, report)
    for note in report.notes:
        (say or _print_to_stderr)(note)
    if spool is None:
        raise DataError(f"no rows in dataset {request.label}{_skipped_reasons(report)}")
    task = report.task or request.spec.task
    records = spool.finish(task)
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
        samples=records.samples,
        ground_truth=records.truths,
        counts=_count_irregularities(spool, records, len(report.skipped)),
        contaminates=report.contaminates or request.spec.contaminates,
        licence=report.licence or (request.spec.licence if request.spec.hub_id else ""),
        mix=report.mix,
    )
    if records.digest is not None:
        vars(dataset)[ROWS_DIGEST] = records.digest
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
    spool: RecordSpool, records: ReadRecords, skipped: int
) -> dict[str, int]:
    """Return counts under the keys of `IRREGULARITIES`, without zeros."""
    counts = {
        "duplicates": len(spool) - records.n_contents,
        "conflicting_duplicates": records.n_conflicting,
        "empty_responses": spool.n_empty_responses,
        "label_conflicts": spool.n_label_conflicts,
        "unknown_labels": records.n_unknown,
        "skipped": skipped,
    }
    return {name: count for name, count in counts.items() if count}
