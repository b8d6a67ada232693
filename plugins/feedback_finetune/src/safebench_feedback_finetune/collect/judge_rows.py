"""What a judge was trained on, and which collected prompts are like it.

A judge that has seen people's labels of a prompt repeats them, so that it looks better
on it than it is. Prompts in one cluster with a row of its training (`near_duplicates`)
count for nothing that is said about the judge, and are not evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from safebench.datasets import load_dataset, resolve_dataset
from safebench.errors import SafebenchError
from safebench.training import Artifact

from .collection_folder import prompt_id
from .collection_input import qualified_group
from .near_duplicates import near_duplicate_clusters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from safebench import Plugins
    from safebench.records import Dataset
    from safebench_feedback_finetune.options import CollectOptions

    from .output_guard import OutputGuard

    Say = Callable[[str], None]

# Of the parts of a training: val chose its state and its calibration.
NOT_LEARNT = "test"


@dataclass(slots=True)
class JudgeRows:
    """The prompts that a judge learnt from, with their groups; `unknown` says what not.

    `sources` are the datasets, as JSON values. Without any source nothing is known.
    """

    prompts: dict[str, tuple[str, str]] = field(default_factory=dict)
    sources: list[dict[str, Any]] = field(default_factory=list)
    unknown: str = ""

    def add(self, dataset: Dataset) -> None:
        """Add the user turns of a dataset."""
        for sample in dataset.samples:
            for turn in sample.turns:
                if turn.role == "user" and turn.text.strip():
                    key = prompt_id(turn.text)
                    group = qualified_group(dataset, sample, key)
                    self.prompts.setdefault(key, (turn.text, group))
        self.sources.append(
            {
                "name": dataset.label,
                "rows": len(dataset),
                "data_hash": dataset.data_hash,
            }
        )

    def seen(self, collected: Iterable[tuple[str, str, str]]) -> list[str]:
        """Return the ids of collected prompts (id, text, group) like any of these."""
        collected = list(collected)
        if not self.prompts or not collected:
            return []
        rows = [
            *((text, group) for _, text, group in collected),
            *self.prompts.values(),
        ]
        labels = near_duplicate_clusters(
            [text for text, _ in rows], [[group] for _, group in rows]
        ).tolist()
        learnt = set(labels[len(collected) :])
        clusters = zip(collected, labels[: len(collected)], strict=True)
        return sorted(key for (key, _, _), cluster in clusters if cluster in learnt)


def read_judge_rows(
    guard: OutputGuard, options: CollectOptions, plugins: Plugins, say: Say
) -> JudgeRows:
    """Return what a judge learnt from: by its artifact, by the user, by calibration.

    Each source that the artifact names must be read with the same content, or the
    reason stands in `unknown`; so it does for a model of which nothing is known.
    """
    rows = JudgeRows()
    for term in options.judge_trained_on:
        rows.add(_read(term, options, plugins, say))
    stated = artifact_sources(guard.judge.model_folder)
    read = {source["data_hash"] for source in rows.sources}
    missing = []
    for source in stated:
        if source.get("data_hash") in read:
            continue
        if reason := _add_source(rows, source, options, plugins, say):
            missing.append(reason)
    for labelled in guard.calibration_sets:
        rows.add(labelled.dataset)
    if missing:
        rows.unknown = "; ".join(missing)
    elif not stated and not options.judge_trained_on:
        rows.unknown = (
            f"nothing says what {guard.judge.chosen.model} was trained on: "
            "--judge-trained-on DATASET names it"
        )
    return rows


def artifact_sources(folder: Path | None) -> list[dict[str, Any]]:
    """Return the sources that the manifest of a training names, [] without one."""
    if folder is None or not Artifact(folder).path.is_file():
        return []
    try:
        dataset = Artifact(folder).manifest().get("dataset") or {}
        sources = list(dataset.get("sources") or [])
    except (SafebenchError, AttributeError, TypeError):
        return []
    return [s for s in sources if isinstance(s, dict) and s.get("part") != NOT_LEARNT]


def _add_source(
    rows: JudgeRows,
    source: dict[str, Any],
    options: CollectOptions,
    plugins: Plugins,
    say: Say,
) -> str:
    """Add a source of an artifact, or return why it cannot be checked."""
    term = ":".join(filter(None, map(source.get, ("name", "config", "split"))))
    try:
        dataset = _read(term, options, plugins, say)
    except SafebenchError:
        return f"{term} is not found: --judge-trained-on names it"
    if dataset.data_hash != source.get("data_hash"):
        return f"{term} is not what the judge was trained on, by its hash"
    rows.add(dataset)
    return ""


def _read(term: str, options: CollectOptions, plugins: Plugins, say: Say) -> Dataset:
    request = resolve_dataset(
        term,
        plugins,
        data_root=options.data_root,
        on_bad_row=options.on_bad_row,
        label_map=options.label_map,
    )
    return load_dataset(request, say=say)


def seen_note(n_seen: int, rows: JudgeRows) -> str:
    """Return what a user is told of the judge's independence; "" if all is well."""
    notes = []
    if n_seen:
        notes.append(
            f"{n_seen} prompts are like what the judge was trained on: they say "
            "nothing of the judge and are not evaluated"
        )
    if rows.unknown:
        notes.append(
            f"whether the judge has seen these prompts is not known: {rows.unknown}"
        )
    return "; ".join(notes)


def trained_on_facts(rows: JudgeRows, seen: Sequence[str]) -> dict[str, Any]:
    """Return what the manifest keeps: sources (None: unknown), and prompts seen."""
    return {
        "trained_on": rows.sources or None,
        "trained_on_unknown": rows.unknown or None,
        "seen": list(seen),
    }
