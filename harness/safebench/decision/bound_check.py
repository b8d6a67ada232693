"""One bound on one number: the safe end of its interval decides."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from safebench.errors import did_you_mean

from .gate_rules import INTERVAL, MIN, VALUE, Bound, GateRequest, RuleResult
from .samples_needed import SHARE_OF, samples_needed

if TYPE_CHECKING:
    from safebench.results.rows import Row

    from .gate_cells import GateCell


def check_bound(
    bound: Bound, cell: GateCell, request: GateRequest, problem: str
) -> RuleResult:
    """Apply one rule to one cell."""
    rows = cell.rows.get(bound.metric, [])
    row = rows[-1] if rows else None
    result = RuleResult(
        rule=bound.text,
        kind=bound.side,
        metric=bound.metric,
        cell=cell.label,
        dataset=cell.dataset,
        bound=bound.value,
        value=row.value if row else None,
        low=row.ci_low if row else None,
        high=row.ci_high if row else None,
        passed=False,
        reason="",
        note=_note_of(row) if row else "",
    )
    if row is None:
        hint = did_you_mean(bound.metric, cell.rows)
        return replace(result, reason=f"the results have no {bound.metric}{hint}")
    problem = problem or why_unusable(row, len(rows), request)
    if problem:
        return replace(result, reason=problem)
    return _decide(result, bound, row, request.by)


def why_unusable(row: Row, n_rows: int, request: GateRequest) -> str:
    """Return why a number cannot be relied on, "" if it can."""
    if n_rows > 1:
        return (
            f"{n_rows} rows of different models, options or evidence have this name: "
            "nobody knows which is meant; run into a folder of its own"
        )
    if row.value is None:
        return f"not known: {row.note or row.ci_method or 'no reason was stored'}"
    if row.contaminated:
        return "the guard's family was trained on this dataset (contaminated)"
    if row.saw_test_labels:
        return f"its threshold was chosen on the test labels ({row.threshold_from})"
    if row.n and row.n_failed / row.n > request.max_failed:
        return (
            f"{row.n_failed} of {row.n} samples failed, above --max-failed "
            f"{request.max_failed:g}: run again, or accept so many"
        )
    if request.by == INTERVAL and (row.ci_low is None or row.ci_high is None):
        why = (row.ci_method or "none: not stored").removeprefix("none: ")
        return f"no interval: {why}; --by value decides without one"
    return ""


def _note_of(row: Row) -> str:
    notes = []
    if row.pack_missing:
        notes.append(f"without {row.pack_missing} of its pack")
    if row.n_failed:
        notes.append(f"{row.n_failed} of {row.n} samples failed")
    return "; ".join(notes)


def _decide(result: RuleResult, bound: Bound, row: Row, by: str) -> RuleResult:
    """Decide by the safe end, and say what would let a failed rule pass."""
    assert row.value is not None
    floor = bound.side == MIN

    def keeps(number: float) -> bool:
        return number >= bound.value if floor else number <= bound.value

    end, name = (row.ci_low, "low") if floor else (row.ci_high, "high")
    decisive = row.value if by == VALUE else end
    assert decisive is not None
    if keeps(decisive):
        return replace(result, passed=True)
    side = "below" if floor else "above"
    if not keeps(row.value):
        return replace(
            result,
            reason=f"the value is {side} {bound.value:g}, more samples do not help: "
            f"{_advice(bound)}",
        )
    assert end is not None
    n, kind = _count(row, bound.metric)
    share = bound.metric in SHARE_OF or bound.metric in {"accuracy", "precision"}
    needed = samples_needed(row.value, end, bound.value, n, share=share)
    more = f"no number of {kind} shows it: the value is the bound itself"
    if needed is not None:
        more = f"about {needed:,} {kind} would show it, here are {n:,}"
    return replace(
        result,
        reason=f"the {name} end of the interval is {side} {bound.value:g}; {more}",
        needed=needed,
        n=n,
    )


def _advice(bound: Bound) -> str:
    option = {"recall": "--min-recall", "fpr": "--max-fpr"}.get(bound.metric)
    if option is None:
        return "the guard has to change, or the bound"
    value = f"{bound.value:g}"
    return f"`safebench threshold RUN {option} {value}` chooses another threshold"


def _count(row: Row, metric: str) -> tuple[int, str]:
    """Return how many samples a value rests on, and what they are."""
    kind = SHARE_OF.get(metric, "samples")
    counts = {"positives": row.n_pos, "negatives": row.n_neg}
    return counts.get(kind) or row.n_scored or row.n, kind
