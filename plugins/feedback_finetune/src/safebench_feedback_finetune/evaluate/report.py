"""Present an evaluation: rows of the results table, and tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench import provenance_fields
from safebench.results import Row
from safebench.training import Measure
from safebench_feedback_finetune.collect.summary import align_columns

from .measurement import COMPARED_BY_PEOPLE, COMPARED_METRICS, HARM_RATE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from safebench.metrics import Interval
    from safebench.records import Dataset

    from .measurement import EvaluatedGuard, GuardTestSet

HIGHER_IS_BETTER = {"fpr": False}
SMALLEST_P_SHOWN = 0.001


def result_rows(
    run: str,
    manifest: Mapping[str, Any],
    evaluated: EvaluatedGuard,
    test_set: GuardTestSet,
    metrics: Mapping[str, Interval],
) -> Iterator[Row]:
    """Yield a result row for each metric; `manifest` is that of the training."""
    guard = manifest["identity"]["guard"]
    n, n_positive = len(test_set.y), int(test_set.y.sum())
    dataset = test_set.dataset
    name, config, split = _dataset_columns(test_set)
    for metric, interval in metrics.items():
        yield Row(
            run=run,
            classifier="llamaguard",
            model=_model_label(guard["model"], evaluated),
            revision=guard["revision"] or None,
            strategy=evaluated.name,
            params={"alpha": evaluated.alpha},
            dataset=name,
            config=config,
            split=split,
            task=test_set.task,
            policy=guard["policy"].partition("@")[0],
            metric=metric,
            value=interval.value,
            ci_low=interval.low,
            ci_high=interval.high,
            ci_method=_ci_method(interval),
            higher_is_better=HIGHER_IS_BETTER.get(metric, True),
            n=n,
            n_pos=n_positive,
            n_neg=n - n_positive,
            n_scored=n,
            threshold=evaluated.threshold,
            threshold_from=evaluated.threshold_from,
            data_hash=dataset.data_hash if dataset else manifest["parts_hash"],
            evidence_key=guard["weights"],
            **provenance_fields(),
            contaminated=is_contaminated(guard["model"], dataset),
            note=test_set.note,
        )


def _dataset_columns(test_set: GuardTestSet) -> tuple[str, str | None, str | None]:
    dataset = test_set.dataset
    if dataset is None:
        return test_set.name, None, "held out"
    return dataset.name, dataset.config, dataset.split


def _model_label(label: str, evaluated: EvaluatedGuard) -> str:
    if not evaluated.alpha:
        return label
    return f"{label} + feedback LoRA at {evaluated.alpha:g}"


def _ci_method(interval: Interval) -> str | None:
    if interval.value is None:
        return None
    # Rows say why there is no interval, as those of the core do.
    if interval.low is None:
        return f"none: {interval.method}"
    return f"{interval.method}, {interval.n_groups} groups"


def is_contaminated(label: str, dataset: Dataset | None) -> bool | None:
    """Return whether the base guard is of a family that was trained on the dataset.

    Judged by its name; None for the collection, of which nothing is known.
    """
    if dataset is None:
        return None
    name = _alphanumeric(label)
    return any(_alphanumeric(family) in name for family in dataset.contaminates)


def _alphanumeric(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())


def metric_records(
    evaluated: EvaluatedGuard, test_set: GuardTestSet, metrics: Mapping[str, Interval]
) -> list[Measure]:
    """Return the metrics of a guard on a set, as the table of trainers takes them."""
    return [
        Measure(
            who=evaluated.name,
            part=f"{test_set.name} {test_set.task}",
            metric=name,
            value=interval.value,
            low=interval.low,
            high=interval.high,
            method=interval.method,
            n=len(test_set.y),
            note=interval.note,
        )
        for name, interval in metrics.items()
    ]


def differences_text(sets: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of the differences of each guard to base and control."""
    compared = {
        name
        for set_record in sets
        for facts in set_record["contenders"].values()
        for minus in facts.get("minus", {}).values()
        for name in minus
    }
    shown = [
        name
        for name in COMPARED_BY_PEOPLE
        if name in compared or name in COMPARED_METRICS
    ]
    metric_heads = [f"{name} [95 %]" for name in shown]
    rows = [("difference", "set", *metric_heads, "McNemar p")]
    for set_record in sets:
        for name, facts in set_record["contenders"].items():
            for other, minus in facts.get("minus", {}).items():
                cells = [
                    _difference_cell(minus[metric]) if metric in minus else "-"
                    for metric in shown
                ]
                p = _p_cell(minus["mcnemar"]["p"])
                rows.append((f"{name} - {other}", _set_name(set_record), *cells, p))
    return align_columns(rows)


def _set_name(set_record: Mapping[str, Any]) -> str:
    """Return the name of a set, with its task where one set has two truths."""
    if not set_record.get("truth"):
        return str(set_record["name"])
    return f"{set_record['name']} {set_record['task']}"


def _p_cell(p: float) -> str:
    return f"<{SMALLEST_P_SHOWN}" if p < SMALLEST_P_SHOWN else f"{p:.3f}"


def _difference_cell(difference: Mapping[str, Any]) -> str:
    value, low, high = (difference[key] for key in ("value", "low", "high"))
    if value is None:
        return "-"
    if low is None or high is None:
        return f"{value:+.3f}"
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def prevention_text(set_record: Mapping[str, Any]) -> str:
    """Return a table of what each guard prevents at the input, and at what cost."""
    by_guard = {
        name: facts["prevention"] for name, facts in set_record["contenders"].items()
    }
    rows = [("at the input", "prevented", "lost", "lost each", "let through")]
    for name, prevention in by_guard.items():
        ratio = prevention["harmless_lost_per_output_prevented"]
        cells = (
            prevention["prevented"],
            prevention["lost"],
            "-" if ratio is None else f"{ratio:.2f}",
            prevention["let_through"],
        )
        rows.append((name, *map(str, cells)))
    totals = next(iter(by_guard.values()))  # the same for all guards
    by_people = set_record.get("task") == HARM_RATE
    kind = "harmful" if by_people else "blocked"
    title = f"by {set_record['truth']}\n" if set_record.get("truth") else ""
    return (
        f"{title}{align_columns(rows)}\n"
        f"prevented: of {totals['outputs']} {kind} outputs to prompts that the base "
        f"guard lets pass\n"
        f"lost: of {totals['harmless']} harmless prompts; lost each: for one output\n"
        f"let through: prompts with a {kind} output that the base guard stops"
    )
