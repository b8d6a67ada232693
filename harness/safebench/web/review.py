"""Reviewing labels on the page of a sample: what is marked already, and the form."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from flask import abort, redirect, request, url_for

from safebench.errors import DataError, RunFolderError
from safebench.files import FileState, file_state
from safebench.results.review_marks import (
    MARKS,
    MAX_NOTE,
    MAX_REVIEWER,
    REVIEW_FILE,
    LabelMark,
    now,
    read_marks,
    remove_mark,
    sample_of_line,
    store_mark,
    verdicts,
)

from .browsed_runs import describe_problem

if TYPE_CHECKING:
    from pathlib import Path

    from werkzeug.wrappers import Response

    from safebench.results.prediction_reading import PredictionLine
    from safebench.results.review_marks import ReviewedSample, Verdict

    from .browsed_runs import BrowsedRun

REMOVE = "none"  # in place of a mark: takes one's own back


class RunMarks(NamedTuple):
    """The marks of a run, what they say together, and why they cannot be read."""

    marks: tuple[LabelMark, ...]
    verdicts: dict[ReviewedSample, Verdict]
    problem: str = ""

    def of_line(self, line: PredictionLine) -> Verdict | None:
        """Return what reviewers say of the label that a prediction is judged by."""
        if not self.verdicts:
            return None
        try:
            verdict = self.verdicts.get(sample_of_line(line))
        except DataError:
            return None
        return verdict if verdict and verdict.label == line.get("label") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewView:
    """The review of a sample's label as its page shows it.

    `obstacle` says why nobody can mark it here. `by` is the reviewer who looks at it,
    and `own` that reviewer's mark.
    """

    verdict: Verdict | None
    marks: tuple[LabelMark, ...]
    obstacle: str
    by: str
    own: LabelMark | None
    choices: tuple[str, ...] = MARKS
    remove: str = REMOVE
    most: tuple[int, int] = (MAX_REVIEWER, MAX_NOTE)


def marks_of_run(run: BrowsedRun) -> RunMarks:
    """Return the marks of a run folder, from memory as long as nothing changes."""
    folder = run.file.parent
    try:
        state = file_state(folder / REVIEW_FILE)
    except FileNotFoundError:
        return RunMarks((), {})
    except OSError as error:
        return RunMarks((), {}, describe_problem(error))
    return _cached_marks(folder, state)


@lru_cache(maxsize=20)
def _cached_marks(folder: Path, state: FileState) -> RunMarks:  # noqa: ARG001
    try:
        marks = tuple(read_marks(folder))
    except (DataError, OSError) as error:
        return RunMarks((), {}, describe_problem(error))
    return RunMarks(marks, verdicts(marks))


def review_view(run: BrowsedRun, line: PredictionLine) -> ReviewView:
    """Return the review of the label that a prediction is judged by."""
    known = marks_of_run(run)
    by = request.args.get("by", "").strip()[:MAX_REVIEWER]
    marks: tuple[LabelMark, ...] = ()
    obstacle = known.problem or _obstacle(run, line)
    if not obstacle:
        sample = sample_of_line(line)
        marks = tuple(mark for mark in known.marks if mark.sample == sample)
    return ReviewView(
        verdict=known.of_line(line),
        marks=marks,
        obstacle=obstacle,
        by=by,
        own=next((mark for mark in marks if mark.by == by), None),
    )


def _obstacle(run: BrowsedRun, line: PredictionLine) -> str:
    folder = run.file.parent
    try:
        sample_of_line(line)
    except DataError as error:
        return error.message
    if not isinstance(line.get("label"), bool):
        return "The data set has no label for this sample, so there is none to review."
    if not os.access(folder, os.W_OK):
        return (
            f"This run cannot be reviewed here: {folder} cannot be written to. Copy "
            "the folder to where it can, and serve the copy."
        )
    return ""


def store_review(run: BrowsedRun, line: PredictionLine, row: int) -> str:
    """Store what the form of a sample says; return what to say of it.

    Raises SafebenchError for what cannot be stored.
    """
    form = request.form
    sample = sample_of_line(line)
    label = line.get("label")
    seen = (form.get("content"), form.get("label"))
    if seen != (sample.content, str(label)) or not isinstance(label, bool):
        abort(400, "the predictions have changed since this page was opened")
    mark, by = form.get("mark", ""), form.get("by", "").strip()
    if not mark:
        abort(400, f"choose what the label is: {', '.join(MARKS)}")
    folder = run.file.parent
    try:
        if mark == REMOVE:
            remove_mark(folder, sample, by)
        else:
            note = form.get("note", "").strip()
            new = LabelMark(
                sample=sample, label=label, mark=mark, by=by, at=now(), note=note
            )
            store_mark(folder, new)
    except OSError as error:
        reason = describe_problem(error)
        raise RunFolderError(f"the mark of row {row} is not stored: {reason}") from None
    return mark


def after_review(name: str, place: str, row: int, following: int | None) -> Response:
    """Return the way to the next sample, or back to this one, with all that was set."""
    form = request.form
    goes_on = form.get("next") == "1" and following is not None
    kept: dict[str, Any] = {
        field: form.get(field) or None
        for field in ("show", "q", "texts", "marks", "part")
    }
    return redirect(
        url_for(
            "runs.sample",
            name=name,
            row=following if goes_on else row,
            place=place,
            saved=row,
            by=form.get("by", "").strip() or None,
            _anchor="review",
            **kept,
        ),
        303,
    )
