"""From datasets to what is asked: each prompt once, with its labels and responses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from safebench.datasets.assemble import load_dataset
from safebench.datasets.choose import choose
from safebench.datasets.parts import limited
from safebench.errors import DataError
from safebench.run.terms import parse_pairs

from .options import REPLAY, SETS
from .records import prompt_id, response_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from safebench.datasets import Request
    from safebench.plugins import Plugins
    from safebench.records import Dataset, Gold, Sample

    from .options import CollectOptions

    Say = Callable[[str], None]

PREFIX = 16  # hex digits, as in groups that datasets leave to the core


@dataclass(slots=True)
class Response:
    """One response to a prompt, and how often people called it harmful, or not."""

    text: str
    votes: list[bool] = field(default_factory=list)


@dataclass(slots=True)
class Item:
    """One prompt to ask; `responses` by their id, of the datasets that carry some."""

    id: str
    prompt: str
    group: str
    dataset: str
    revision: str
    votes: list[bool] = field(default_factory=list)
    responses: dict[str, Response] = field(default_factory=dict)


@dataclass(slots=True)
class Asked:
    """The prompts, and for the manifest what was read and what was left out."""

    items: list[Item]
    sources: list[dict[str, Any]]
    left_out: int


def majority(votes: Sequence[bool]) -> bool | None:
    """Return what most say, None if nobody does or as many say either."""
    yes = sum(votes)
    if 2 * yes == len(votes):
        return None
    return 2 * yes > len(votes)


def read_items(options: CollectOptions, plugins: Plugins, say: Say) -> Asked:
    """Return the prompts of all datasets, in their order, each once.

    With ``generator=replay`` rows without a response are left out. Raises DataError if
    nothing is left of a dataset.
    """
    items: dict[str, Item] = {}
    sources, left_out = [], 0
    replay = options.generator == REPLAY
    for text in options.dataset:
        request = _request(text, options, plugins)
        dataset = load_dataset(request, tell=say)
        if options.limit:
            dataset = limited(dataset, options.limit, options.seed)
        taken = sum(_add(items, dataset, row, replay=replay) for row in _rows(dataset))
        if not taken:
            raise DataError(_nothing(dataset, replay=replay))
        left = len(dataset) - taken
        left_out += left
        said = f", {left} left out (no prompt of one turn{_or_none(replay)})"
        say(f"{dataset.label}: {taken} rows{said if left else ''}")
        sources.append(_source(request, dataset, options))
    return Asked(list(items.values()), sources, left_out)


def _request(text: str, options: CollectOptions, plugins: Plugins) -> Request:
    """Return the split that is meant: the training split unless the text says one."""
    request = choose(
        text,
        plugins,
        data_root=options.data_root,
        on_bad_row=options.on_bad_row,
        label_map=parse_pairs(list(options.label_map), "--label-map"),
    )
    said = text.partition(",")[0].split(":")[1:]
    if request.source is not None or request.split in said:
        return request
    usual = [name for name in request.spec.splits if name.endswith("train")]
    return replace(request, split=min(usual, key=len)) if usual else request


def _rows(dataset: Dataset) -> Iterator[tuple[Sample, Gold]]:
    return zip(dataset.samples, dataset.golds, strict=True)


def _add(
    items: dict[str, Item],
    dataset: Dataset,
    row: tuple[Sample, Gold],
    *,
    replay: bool,
) -> bool:
    """Take a row in; False if it is no prompt, or lacks what is to be replayed."""
    sample, gold = row
    roles = [turn.role for turn in sample.turns]
    if roles not in (["user"], ["user", "assistant"]):
        return False
    prompt, *rest = [turn.text for turn in sample.turns]
    response = rest[0] if rest else ""
    if not prompt.strip() or (replay and not response.strip()):
        return False
    name = prompt_id(prompt)
    group = sample.group if sample.group == name[:PREFIX] else _own(dataset, sample)
    item = items.setdefault(
        name, Item(name, prompt, group, dataset.label, dataset.revision)
    )
    value = gold.label.value
    if dataset.task == "prompt_harm" and value is not None:
        item.votes.append(value)
    if replay:
        kept = item.responses.setdefault(response_id(response), Response(response))
        if dataset.task == "response_harm" and value is not None:
            kept.votes.append(value)
    return True


def _own(dataset: Dataset, sample: Sample) -> str:
    """Return a group that a dataset names itself, told from another's."""
    return f"{dataset.name}:{sample.group}"


def _or_none(replay: bool) -> str:
    return ", or no response" if replay else ""


def _nothing(dataset: Dataset, *, replay: bool) -> str:
    if replay:
        return (
            f"{dataset.label} carries no responses to replay: name a language model "
            f"with --generator, or a set that does: {SETS}"
        )
    return f"{dataset.label} holds no prompt of one turn"


def _source(
    request: Request, dataset: Dataset, options: CollectOptions
) -> dict[str, Any]:
    """Return the facts about a dataset; where a file lay is nobody's business."""
    return {
        "name": dataset.label,
        "id": request.spec.hub_id or request.name,
        "task": dataset.task,
        "revision": dataset.revision,
        "rows": len(dataset),
        "limit": options.limit,
        "data_hash": dataset.data_hash,
    }
