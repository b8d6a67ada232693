"""What the datasets of a run say of its samples, if they can still be read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from safebench.errors import SafebenchError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safebench.plugins import Plugins
    from safebench.records import Gold, Sample

    from .predictions import Predictions

    Key = tuple[str, str, str, str]

CONFIG = "config.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a dataset says of one sample: its group, columns, text and their length.

    `length` counts the characters of all turns. A column that a row has but leaves
    empty is in `meta` as None.
    """

    group: str
    meta: dict[str, Any]
    text: str
    length: int


@dataclass(frozen=True, slots=True)
class Sources:
    """The samples that were read again, and why others were not."""

    facts: dict[Key, tuple[str, Facts]]
    notes: tuple[str, ...] = ()


def read_sources(
    folder: Path, plugins: Plugins, data_root: str | None = None
) -> Sources:
    """Read the datasets that a run's stored configuration names.

    One that cannot be read (moved file, no network) becomes a note, not an error.
    """
    from safebench.run.config import load_config
    from safebench.run.parts import read_parts

    path = folder / CONFIG
    if not path.is_file():
        return Sources({}, (f"no {CONFIG} in {folder}: its datasets are not known",))
    try:
        config = replace(load_config(path, {"data_root": data_root}), limit=None)
    except SafebenchError as error:
        return Sources({}, (f"the run's {CONFIG} cannot be read: {error.message}",))
    facts: dict[Key, tuple[str, Facts]] = {}
    notes = []
    for text in config.datasets:
        try:
            (part,) = read_parts(replace(config, datasets=(text,)), plugins)
        except SafebenchError as error:
            why = error.message.partition("\n")[0]
            notes.append(f"{text} could not be read again: {why}")
            continue
        dataset = part.dataset
        for sample, gold in zip(dataset.samples, dataset.golds, strict=True):
            key = (dataset.name, dataset.split, dataset.task, sample.id)
            facts[key] = (sample.content, _facts(sample, gold))
    return Sources(facts, tuple(notes))


def _facts(sample: Sample, gold: Gold) -> Facts:
    columns = {"language": sample.language, "transform": sample.transform}
    known = {name: value for name, value in columns.items() if value is not None}
    return Facts(
        group=sample.group,
        meta={**sample.meta, **gold.meta, **known},
        text=shown_text(sample),
        length=sum(len(turn.text) for turn in sample.turns),
    )


def shown_text(sample: Sample) -> str:
    """Return one turn as it is, several with their roles."""
    if len(sample.turns) == 1:
        return sample.turns[0].text
    return "\n".join(f"{turn.role}: {turn.text}" for turn in sample.turns)


def attached(
    found: Sequence[Predictions], sources: Sources
) -> tuple[list[Predictions], list[str]]:
    """Return predictions with the facts of their samples, and notes on what lacks.

    A sample whose text has changed since the run counts as lacking.
    """
    notes = list(sources.notes)
    done = []
    for predictions in found:
        name, *rest = predictions.dataset.split(":")
        split = rest[-1] if rest else ""
        facts = tuple(
            _same(sources.facts.get((name, split, predictions.task, id_)), content)
            for id_, content in zip(predictions.ids, predictions.content, strict=True)
        )
        missing = sum(fact is None for fact in facts)
        if missing and missing < len(facts):
            note = f"{predictions.dataset}: {missing} samples are not there any more"
            notes.append(note)
        done.append(replace(predictions, facts=facts))
    return done, list(dict.fromkeys(notes))


def _same(found: tuple[str, Facts] | None, content: str) -> Facts | None:
    return found[1] if found is not None and found[0] == content else None
