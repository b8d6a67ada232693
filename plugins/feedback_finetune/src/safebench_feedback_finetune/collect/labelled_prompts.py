"""Read datasets whose prompts have labels of annotators.

Their harmless prompts bound the false-positive rate of a trained guard, and any such
dataset can be evaluated on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from safebench.datasets import load_dataset, resolve_dataset
from safebench.errors import DataError

from .collection_folder import prompt_id
from .collection_input import majority_vote, training_split
from .prompts import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench import Plugins
    from safebench.records import Dataset


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """A dataset with those of its prompts that have a label."""

    dataset: Dataset
    prompts: tuple[Prompt, ...]

    def to_manifest(self) -> dict[str, Any]:
        """Return the facts that a manifest keeps of the set."""
        return {
            "name": self.dataset.label,
            "revision": self.dataset.revision,
            "prompts": len(self.prompts),
            "harmless": sum(prompt.label is False for prompt in self.prompts),
            "data_hash": self.dataset.data_hash,
        }


def read_labelled_sets(
    terms: Sequence[str],
    plugins: Plugins,
    say: Callable[[str], None],
    *,
    training: bool,
    data_root: str | None = None,
    label_map: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
) -> list[LabelledSet]:
    """Return the datasets that `terms` name, each prompt of a dataset once.

    With `training` a term without a split means the training split. Raises DataError
    for a dataset whose labels are not about prompts.
    """
    labelled_sets = []
    for term in terms:
        request = resolve_dataset(
            term,
            plugins,
            data_root=data_root,
            label_map=label_map,
        )
        if training:
            request = training_split(term, request)
        dataset = load_dataset(request, say=say, limit=limit, seed=seed)
        labelled_sets.append(LabelledSet(dataset, tuple(_labelled_prompts(dataset))))
    return labelled_sets


def _labelled_prompts(dataset: Dataset) -> list[Prompt]:
    """Return the prompts of one turn, labelled by the majority of their rows."""
    if dataset.task != "prompt_harm":
        raise DataError(
            f"{dataset.label} has labels for {dataset.task}: a set with labels for "
            "prompts is needed"
        )
    votes: dict[str, list[bool]] = {}
    prompts: dict[str, Prompt] = {}
    for sample, truth in zip(dataset.samples, dataset.ground_truth, strict=True):
        roles = [turn.role for turn in sample.turns]
        # The label of a longer conversation is not that of one prompt.
        if roles != ["user"] or truth.label.value is None:
            continue
        text = sample.turns[0].text
        if not text.strip():
            continue
        key = prompt_id(text)
        votes.setdefault(key, []).append(truth.label.value)
        # Two datasets may call their groups by the same names.
        group = f"{dataset.name}:{sample.group}"
        prompts.setdefault(
            key, Prompt(id=key, text=text, dataset=dataset.label, group=group)
        )
    if not prompts:
        raise DataError(f"{dataset.label} holds no labelled prompt of one turn")
    labels = {key: majority_vote(prompt_votes) for key, prompt_votes in votes.items()}
    return [
        replace(prompt, label=labels[key])
        for key, prompt in prompts.items()
        if labels[key] is not None
    ]
