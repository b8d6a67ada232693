"""Prompts that people labelled: benign ones for the gate, other sets to measure on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from safebench.datasets.assemble import load_dataset
from safebench.datasets.choose import choose
from safebench.datasets.parts import limited
from safebench.errors import DataError
from safebench.run.terms import parse_pairs

from .items import majority
from .prompts import Prompt
from .records import prompt_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.datasets import Request
    from safebench.plugins import Plugins
    from safebench.records import Dataset

    Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Labelled:
    """The prompts of one dataset whose labels are known, and where they are from."""

    dataset: Dataset
    prompts: tuple[Prompt, ...]

    def facts(self) -> dict[str, Any]:
        """Return what a manifest says of the set."""
        return {
            "name": self.dataset.label,
            "revision": self.dataset.revision,
            "prompts": len(self.prompts),
            "harmless": sum(prompt.label is False for prompt in self.prompts),
            "data_hash": self.dataset.data_hash,
        }


def read_labelled(
    terms: Sequence[str],
    plugins: Plugins,
    say: Say,
    *,
    training: bool,
    data_root: str | None = None,
    label_map: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
) -> list[Labelled]:
    """Return the sets that `terms` name, each prompt once; `training` splits if asked.

    Raises DataError for a set whose labels are not about prompts.
    """
    found = []
    for term in terms:
        request = choose(
            term,
            plugins,
            data_root=data_root,
            label_map=parse_pairs(list(label_map), "--label-map"),
        )
        if training:
            request = _training_split(term, request)
        dataset = load_dataset(request, tell=say)
        if limit:
            dataset = limited(dataset, limit, seed)
        found.append(Labelled(dataset, tuple(_prompts(dataset))))
    return found


def _training_split(term: str, request: Request) -> Request:
    said = term.partition(",")[0].split(":")[1:]
    if request.source is not None or request.split in said:
        return request
    usual = [name for name in request.spec.splits if name.endswith("train")]
    return replace(request, split=min(usual, key=len)) if usual else request


def _prompts(dataset: Dataset) -> list[Prompt]:
    if dataset.task != "prompt_harm":
        raise DataError(
            f"{dataset.label} has labels for {dataset.task}: a set with labels for "
            "prompts is needed"
        )
    votes: dict[str, list[bool]] = {}
    first: dict[str, Prompt] = {}
    for sample, gold in zip(dataset.samples, dataset.golds, strict=True):
        if [turn.role for turn in sample.turns] != ["user"] or gold.label.value is None:
            continue
        text = sample.turns[0].text
        if not text.strip():
            continue
        name = prompt_id(text)
        votes.setdefault(name, []).append(gold.label.value)
        group = f"{dataset.name}:{sample.group}"
        first.setdefault(
            name, Prompt(id=name, text=text, dataset=dataset.label, group=group)
        )
    if not first:
        raise DataError(f"{dataset.label} holds no labelled prompt of one turn")
    labels = {name: majority(said) for name, said in votes.items()}
    return [
        replace(prompt, label=labels[name])
        for name, prompt in first.items()
        if labels[name] is not None
    ]
