"""Read the datasets to collect from: each prompt once, with labels and responses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from safebench.datasets import load_dataset, resolve_dataset
from safebench.errors import DataError
from safebench_feedback_finetune.options import DATASETS_WITH_RESPONSES, REPLAY

from .collection_folder import prompt_id, response_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench import Plugins
    from safebench.datasets import DatasetRequest
    from safebench.records import Dataset, GroundTruth, Sample
    from safebench_feedback_finetune.options import CollectOptions

    Say = Callable[[str], None]

# Hex digits of the group that the core gives to a row whose dataset names no group.
GROUP_ID_LENGTH = 16


@dataclass(slots=True)
class DatasetResponse:
    """A response that a dataset carries, with the annotators' votes (True: harmful)."""

    text: str
    votes: list[bool] = field(default_factory=list)


@dataclass(slots=True)
class CollectionItem:
    """A prompt to collect, with its votes; `responses` by id, if they are replayed."""

    id: str
    prompt: str
    group: str
    dataset: str
    revision: str
    votes: list[bool] = field(default_factory=list)
    responses: dict[str, DatasetResponse] = field(default_factory=dict)


@dataclass(slots=True)
class CollectionInput:
    """All prompts, the manifest's facts on each dataset, and the rows left out."""

    items: list[CollectionItem]
    sources: list[dict[str, Any]]
    left_out: int


def majority_vote(votes: Sequence[bool]) -> bool | None:
    """Return what the majority votes, None for a tie or without votes."""
    n_true = sum(votes)
    if 2 * n_true == len(votes):
        return None
    return 2 * n_true > len(votes)


def read_collection_input(
    options: CollectOptions, plugins: Plugins, say: Say
) -> CollectionInput:
    """Return the prompts of all datasets, in their order, each once.

    A prompt that stands in several rows gets the votes and responses of all of them.
    With ``generator=replay`` rows without a response are left out. Raises DataError for
    a dataset without any usable row.
    """
    items: dict[str, CollectionItem] = {}
    sources, left_out = [], 0
    replay = options.generator == REPLAY
    for term in options.dataset:
        request = training_split(
            term,
            resolve_dataset(
                term,
                plugins,
                data_root=options.data_root,
                on_bad_row=options.on_bad_row,
                label_map=options.label_map,
            ),
        )
        dataset = load_dataset(request, say=say, limit=options.limit, seed=options.seed)
        n_used = sum(
            _add_row(items, dataset, sample, truth, replay=replay)
            for sample, truth in zip(dataset.samples, dataset.ground_truth, strict=True)
        )
        if not n_used:
            raise DataError(_no_prompts_message(dataset, replay=replay))
        n_unused = len(dataset) - n_used
        left_out += n_unused
        reason = f"no prompt of one turn{', or no response' if replay else ''}"
        note = f", {n_unused} left out ({reason})" if n_unused else ""
        say(f"{dataset.label}: {n_used} rows{note}")
        sources.append(_source_record(request, dataset, options))
    return CollectionInput(list(items.values()), sources, left_out)


def training_split(term: str, request: DatasetRequest) -> DatasetRequest:
    """Return the request for the training split, unless `term` names a split or file.

    Of several training splits (BeaverTails has ``30k_train`` and ``330k_train``) the
    one with the shortest name is taken.
    """
    named = term.partition(",")[0].split(":")[1:]
    if request.source is not None or request.split in named:
        return request
    training = [name for name in request.spec.splits if name.endswith("train")]
    return replace(request, split=min(training, key=len)) if training else request


def _add_row(
    items: dict[str, CollectionItem],
    dataset: Dataset,
    sample: Sample,
    truth: GroundTruth,
    *,
    replay: bool,
) -> bool:
    """Add a row to `items`; False if it has no single prompt or nothing to replay."""
    roles = [turn.role for turn in sample.turns]
    if roles not in (["user"], ["user", "assistant"]):
        return False
    prompt, *rest = [turn.text for turn in sample.turns]
    response = rest[0] if rest else ""
    if not prompt.strip() or (replay and not response.strip()):
        return False
    key = prompt_id(prompt)
    group = qualified_group(dataset, sample, key)
    item = items.setdefault(
        key, CollectionItem(key, prompt, group, dataset.label, dataset.revision)
    )
    harmful = truth.label.value
    if dataset.task == "prompt_harm" and harmful is not None:
        item.votes.append(harmful)
    if replay:
        replayed = item.responses.setdefault(
            response_id(response), DatasetResponse(response)
        )
        if dataset.task == "response_harm" and harmful is not None:
            replayed.votes.append(harmful)
    return True


def qualified_group(dataset: Dataset, sample: Sample, key: str) -> str:
    """Return the group of a sample with the prompt id `key`, unique over datasets.

    The core's own group is a hash of the prompt, the same in all datasets. A group
    named by a dataset is qualified: another dataset may use the same name.
    """
    named_group = sample.group != key[:GROUP_ID_LENGTH]
    return f"{dataset.name}:{sample.group}" if named_group else sample.group


def _no_prompts_message(dataset: Dataset, *, replay: bool) -> str:
    if replay:
        return (
            f"{dataset.label} carries no responses to replay: name a language model "
            f"with --generator, or a set that does: {DATASETS_WITH_RESPONSES}"
        )
    return f"{dataset.label} holds no prompt of one turn"


def _source_record(
    request: DatasetRequest, dataset: Dataset, options: CollectOptions
) -> dict[str, Any]:
    """Return the manifest's facts on a dataset, without the path of a file."""
    return {
        "name": dataset.label,
        "id": request.spec.hub_id or request.name,
        "task": dataset.task,
        "revision": dataset.revision,
        "rows": len(dataset),
        "limit": options.limit,
        "data_hash": dataset.data_hash,
    }
