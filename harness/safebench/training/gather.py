"""The rows to learn from: read, sampled, and cut into three parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from safebench.datasets.assemble import load_dataset
from safebench.datasets.parts import limited
from safebench.errors import DataError
from safebench.specs import DatasetSpec

from .pools import SIDES, pools_of
from .sources import choose_source
from .split import PARTS, cut, parse_shares

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.datasets import Request
    from safebench.plugins import Plugins
    from safebench.records import Dataset
    from safebench.specs import TrainerSpec

    from .config import TrainConfig

    Say = Callable[[str], None]


@dataclass(slots=True)
class Parts:
    """The data of one training, and the facts about it for the manifest.

    `evaluation` names the sets that have an evaluation split of their own.
    """

    train: Dataset
    val: Dataset
    test: Dataset
    facts: dict[str, Any] = field(default_factory=dict)
    evaluation: list[str] = field(default_factory=list)


def gather(spec: TrainerSpec, config: TrainConfig, plugins: Plugins, say: Say) -> Parts:
    """Read every source and return train, val and test rows without common groups.

    `say` is told what was left out, and why. Raises `SafebenchError` if a source cannot
    be read, or if a part would be empty or training have one class.
    """
    texts = {
        "train": config.dataset or (spec.dataset,),
        "val": config.val_dataset,
        "test": config.test_dataset,
    }
    sources: list[dict[str, Any]] = []
    read: dict[str, list[Dataset]] = {part: [] for part in PARTS}
    for part, named in texts.items():
        for text in named:
            request = choose_source(text, part, spec, config, plugins)
            dataset = _read(request, spec, say)
            read[part].append(dataset)
            sources.append(_source(part, request, dataset))
    parts = pools_of(read, spec, say)
    pool = _sampled(parts["train"], spec, config, say)
    every = parse_shares(config.split)
    shares = {p: share for p, share in every.items() if p == "train" or not texts[p]}
    parts |= cut(pool, shares, config.seed)
    for part in PARTS:
        _check(part, parts, say)
    say(", ".join(f"{part} {_counted(parts[part], spec)}" for part in PARTS))
    facts = {
        "sources": sources,
        "task": spec.task,
        "split": config.split,
        "split_seed": config.seed,
        "sample": wanted(spec, config),
        "parts": {part: describe(parts[part], pairs=spec.pairs) for part in PARTS},
    }
    evaluation = _evaluable(sources, plugins)
    return Parts(parts["train"], parts["val"], parts["test"], facts, evaluation)


def _read(request: Request, spec: TrainerSpec, say: Say) -> Dataset:
    dataset = load_dataset(request, tell=say)
    if dataset.task != spec.task:
        raise DataError(
            f"{dataset.label} is labelled for {dataset.task}, and {spec.name} learns "
            f"{spec.task}"
        )
    counted = ", ".join(f"{n} {what}" for what, n in dataset.counts.items())
    say(f"{dataset.label}: {len(dataset)} rows" + (f" ({counted})" if counted else ""))
    return dataset


def _source(part: str, request: Request, dataset: Dataset) -> dict[str, Any]:
    """Return the facts about a source; where a file lay is nobody's business."""
    hub_id = request.source if request.spec.name == "hub" else request.spec.hub_id
    return {
        "part": part,
        "id": hub_id or request.name,
        "name": dataset.name,
        "config": dataset.config or request.spec.config,
        "split": dataset.split,
        "revision": dataset.revision,
        "rows": len(dataset),
        "data_hash": dataset.data_hash,
    }


def _evaluable(sources: Sequence[dict[str, Any]], plugins: Plugins) -> list[str]:
    """Return named sets whose evaluation split is not what was learnt from."""
    usual = {s.name: s.splits[0] for s in plugins.all(DatasetSpec) if s.splits}
    learnt = {s["name"]: s["split"] for s in sources if s["part"] == "train"}
    return [name for name, split in learnt.items() if usual.get(name, split) != split]


def wanted(spec: TrainerSpec, config: TrainConfig) -> int | None:
    """Return how many rows (pairs, for a trainer of pairs) are asked for, or None."""
    if isinstance(config.sample, str):  # "all"
        return None
    return config.sample or spec.sample


def _sampled(
    pool: Dataset, spec: TrainerSpec, config: TrainConfig, say: Say
) -> Dataset:
    """Take whole groups in seeded hash order, the classes interleaved."""
    n = wanted(spec, config)
    if n is None or not len(pool):
        return pool
    each, what = (SIDES, "pairs") if spec.pairs else (1, "rows")
    there = len(pool) // each
    if there < n:
        say(f"warning: {n} {what} asked for, {there} there: all of them are taken")
        return pool
    return limited(pool, n * each, config.seed)


def _check(part: str, parts: dict[str, Dataset], say: Say) -> None:
    """Refuse an empty part and a training part of one class; warn of other ones."""
    classes = {gold.label.value for gold in parts[part].golds}
    sizes = ", ".join(f"{name} {len(parts[name])}" for name in PARTS)
    if not classes:
        raise DataError(f"too few rows: no group is left for {part} ({sizes})")
    if len(classes) == 1:
        word = "positive" if True in classes else "negative"
        problem = f"all rows of {part} are {word}"
        if part == "train":
            raise DataError(f"nothing to learn: {problem} ({sizes})")
        say(f"warning: {problem}: some measures are not defined")


def _counted(part: Dataset, spec: TrainerSpec) -> str:
    facts = describe(part, pairs=spec.pairs)
    if spec.pairs:
        return f"{facts['pairs']} pairs ({facts['groups']} groups)"
    rest = f"{facts['positive']} positive, {facts['groups']} groups"
    return f"{facts['rows']} rows ({rest})"


def describe(part: Dataset, *, pairs: bool) -> dict[str, Any]:
    """Return a part's counts and hash, for people and for the manifest."""
    positive = sum(gold.label.value is True for gold in part.golds)
    facts: dict[str, Any] = {
        "rows": len(part),
        "positive": positive,
        "negative": len(part) - positive,
        "groups": len({sample.group for sample in part.samples}),
        "data_hash": part.data_hash,
    }
    return facts | ({"pairs": len(part) // SIDES} if pairs else {})
