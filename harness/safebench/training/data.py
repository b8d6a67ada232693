"""Load the data of a training: resolve the sources, read them, and split them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from safebench.datasets.loader import IRREGULARITIES, load_dataset
from safebench.datasets.resolve import resolve_dataset
from safebench.datasets.rows import ColumnOptions
from safebench.datasets.splits import subsample
from safebench.errors import DataError, OptionError
from safebench.specs import DatasetSpec

from .singles import attach_singles
from .splits import (
    SAMPLES_PER_PAIR,
    SPLIT_NAMES,
    parse_shares,
    pool_sources,
    split_by_group,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.datasets import DatasetRequest
    from safebench.plugins import Plugins
    from safebench.records import Dataset
    from safebench.specs import TrainerSpec

    from .config import TrainConfig

    Say = Callable[[str], None]


# Names that datasets give their splits, in the order of preference.
DEFAULT_SPLITS = {"train": ("train",), "val": ("validation", "val", "dev"), "test": ()}


def resolve_source(
    text: str, split: str, spec: TrainerSpec, config: TrainConfig, plugins: Plugins
) -> DatasetRequest:
    """Return the request for a source of `split` (train, val or test).

    A set without a named split means its training split for `train`, its validation
    split for `val`, and its evaluation split for `test` or where there is no other. A
    file's rows are read for the trainer's task, unless the text names another.
    """
    request = resolve_dataset(
        text,
        plugins,
        data_root=config.data_root,
        on_bad_row=config.on_bad_row,
        # YAML reads `yes: no` as booleans.
        label_map={word: str(label) for word, label in config.label_map.items()},
    )
    # "auto" would judge responses wherever a file has some, also for a prompt trainer.
    if isinstance(request.options, ColumnOptions) and request.options.task == "auto":
        options = replace(request.options, task=spec.task)  # type: ignore[arg-type]
        request = replace(request, options=options)
    suffixes = text.partition(",")[0].split(":")[1:]
    if request.source is not None or request.split in suffixes:
        return request
    available = request.spec.splits
    return replace(request, split=_default_split(available, split, request.split))


def _default_split(available: Sequence[str], split: str, evaluation: str) -> str:
    """Return a split of the usual name, ``train`` before ``30k_train``."""
    for name in DEFAULT_SPLITS[split]:
        if name in available:
            return name
        for candidate in available:
            if candidate.endswith(name):
                return candidate
    return evaluation


@dataclass(slots=True)
class TrainingData:
    """The splits of one training, which share no group.

    `manifest` describes them for the artifact. `evaluation_datasets` are the training
    sets with an evaluation split that was not learnt from. `singles` are responses
    labelled alone, None where none were asked for.
    """

    train: Dataset
    val: Dataset
    test: Dataset
    manifest: dict[str, Any] = field(default_factory=dict)
    evaluation_datasets: list[str] = field(default_factory=list)
    singles: Dataset | None = None


def check_sources(spec: TrainerSpec, config: TrainConfig, plugins: Plugins) -> None:
    """Raise `SafebenchError` for a dataset of another name, before anything is read."""
    texts = {
        "train": (*(config.dataset or (spec.dataset,)), *config.singles),
        "val": config.val_dataset,
        "test": config.test_dataset,
    }
    for split, split_texts in texts.items():
        for text in split_texts:
            resolve_source(text, split, spec, config, plugins)


def load_training_data(
    spec: TrainerSpec, config: TrainConfig, plugins: Plugins, say: Say
) -> TrainingData:
    """Read all sources, and split the training rows where no val or test set is given.

    `say` gets a line about everything that was left out. Raises `SafebenchError` if a
    source cannot be read, a split is empty, or the training rows have one class.
    """
    if config.singles and not spec.singles:
        raise OptionError(f"singles: {spec.name} learns from no responses alone")
    texts = {
        "train": config.dataset or (spec.dataset,),
        "val": config.val_dataset,
        "test": config.test_dataset,
    }
    records: list[dict[str, Any]] = []
    sources: dict[str, list[Dataset]] = {split: [] for split in SPLIT_NAMES}
    for split, split_texts in texts.items():
        for text in split_texts:
            request = resolve_source(text, split, spec, config, plugins)
            dataset = _load_source(request, spec, say)
            sources[split].append(dataset)
            records.append(_source_record(split, request, dataset))
    splits = pool_sources(sources, spec, say)
    pool = _subsample_pool(splits["train"], spec, config, say)
    # Splits with sources of their own take no share of the training rows.
    shares = {
        split: share
        for split, share in parse_shares(config.split).items()
        if split == "train" or not texts[split]
    }
    splits |= split_by_group(pool, shares, config.seed)
    for split in SPLIT_NAMES:
        _check_classes(split, splits, say)
    say(
        ", ".join(
            f"{name} {_format_counts(splits[name], spec)}" for name in SPLIT_NAMES
        )
    )
    singles = _load_singles(spec, config, plugins, splits, records, say)
    parts = {
        name: describe_split(splits[name], pairs=spec.pairs) for name in SPLIT_NAMES
    }
    if singles is not None:
        parts["singles"] = describe_split(singles, pairs=False)
    manifest = {
        "sources": records,
        "task": spec.task,
        "split": config.split,
        "split_seed": config.seed,
        "sample": sample_size(spec, config),
        "parts": parts,
    }
    return TrainingData(
        splits["train"],
        splits["val"],
        splits["test"],
        manifest,
        _with_unseen_split(records, plugins),
        singles,
    )


def _load_singles(
    spec: TrainerSpec,
    config: TrainConfig,
    plugins: Plugins,
    splits: dict[str, Dataset],
    records: list[dict[str, Any]],
    say: Say,
) -> Dataset | None:
    """Return the responses labelled alone, and note their sources in `records`.

    Regroups the training rows of `splits` with them.
    """
    sources = []
    for text in config.singles:
        request = resolve_source(text, "train", spec, config, plugins)
        dataset = _load_source(request, spec, say)
        sources.append(dataset)
        records.append(_source_record("singles", request, dataset))
    if not sources:
        return None
    splits["train"], singles = attach_singles(sources, splits, spec, say)
    return singles


def _load_source(request: DatasetRequest, spec: TrainerSpec, say: Say) -> Dataset:
    dataset = load_dataset(request, say=say)
    if dataset.task != spec.task:
        raise DataError(
            f"{dataset.label} is labelled for {dataset.task}, and {spec.name} learns "
            f"{spec.task}"
        )
    counts = ", ".join(
        f"{n} {IRREGULARITIES[key]}" for key, n in dataset.counts.items()
    )
    say(f"{dataset.label}: {len(dataset)} rows" + (f" ({counts})" if counts else ""))
    return dataset


def _source_record(
    split: str, request: DatasetRequest, dataset: Dataset
) -> dict[str, Any]:
    """Return what the manifest says about a source."""
    # Artifacts are published: a file is recorded by its name, without its folder.
    hub_id = request.source if request.spec.name == "hub" else request.spec.hub_id
    return {
        "part": split,
        "id": hub_id or request.name,
        "name": dataset.name,
        "config": dataset.config or request.spec.config,
        "split": dataset.split,
        "revision": dataset.revision,
        "rows": len(dataset),
        "data_hash": dataset.data_hash,
    }


def _with_unseen_split(
    records: Sequence[dict[str, Any]], plugins: Plugins
) -> list[str]:
    """Return training sets whose evaluation split was not learnt from."""
    evaluation = {s.name: s.splits[0] for s in plugins.all(DatasetSpec) if s.splits}
    learnt = {r["name"]: r["split"] for r in records if r["part"] == "train"}
    return [
        name for name, split in learnt.items() if evaluation.get(name, split) != split
    ]


def sample_size(spec: TrainerSpec, config: TrainConfig) -> int | None:
    """Return how many rows (or pairs) to learn from; None means all."""
    if config.sample == "all":
        return None
    assert not isinstance(config.sample, str)
    return config.sample or spec.sample


def _subsample_pool(
    pool: Dataset, spec: TrainerSpec, config: TrainConfig, say: Say
) -> Dataset:
    n = sample_size(spec, config)
    if n is None or not len(pool):
        return pool
    unit_size, unit = (SAMPLES_PER_PAIR, "pairs") if spec.pairs else (1, "rows")
    available = len(pool) // unit_size
    if available < n:
        say(f"warning: {n} {unit} asked for, {available} there: all of them are taken")
        return pool
    return subsample(pool, n * unit_size, config.seed)


def _check_classes(split: str, splits: dict[str, Dataset], say: Say) -> None:
    """Refuse an empty split and training rows of one class; warn about other splits."""
    classes = {truth.label.value for truth in splits[split].ground_truth}
    sizes = ", ".join(f"{name} {len(splits[name])}" for name in SPLIT_NAMES)
    if not classes:
        raise DataError(f"too few rows: no group is left for {split} ({sizes})")
    if len(classes) == 1:
        word = "positive" if True in classes else "negative"
        problem = f"all rows of {split} are {word}"
        if split == "train":
            raise DataError(f"nothing to learn: {problem} ({sizes})")
        say(f"warning: {problem}: some measures are not defined")


def _format_counts(dataset: Dataset, spec: TrainerSpec) -> str:
    counts = describe_split(dataset, pairs=spec.pairs)
    groups = f"{counts['groups']} groups"
    if spec.pairs:
        return f"{counts['pairs']} pairs ({groups})"
    return f"{counts['rows']} rows ({counts['positive']} positive, {groups})"


def describe_split(dataset: Dataset, *, pairs: bool) -> dict[str, Any]:
    """Return counts of a split and a hash of its content, as in the manifest."""
    positive = sum(truth.label.value is True for truth in dataset.ground_truth)
    description: dict[str, Any] = {
        "rows": len(dataset),
        "positive": positive,
        "negative": len(dataset) - positive,
        "groups": len({sample.group for sample in dataset.samples}),
        "data_hash": dataset.data_hash,
    }
    if pairs:
        description["pairs"] = len(dataset) // SAMPLES_PER_PAIR
    return description
