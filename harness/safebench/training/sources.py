"""Which split a source means when it is to be learnt from rather than judged on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from safebench.datasets.choose import choose
from safebench.datasets.rows import ColumnOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.datasets import Request
    from safebench.plugins import Plugins
    from safebench.specs import TrainerSpec

    from .config import TrainConfig

USUAL = {"train": ("train",), "val": ("validation", "val", "dev"), "test": ()}


def choose_source(
    text: str, part: str, spec: TrainerSpec, config: TrainConfig, plugins: Plugins
) -> Request:
    """Return the split that `text` names, or the usual one for a part of a training.

    Without a split a named set means its training split for `train`, its validation
    split for `val`, and its evaluation split for `test` or where there is no other. A
    file's rows are read for the trainer's task, unless the text names another.
    """
    request = choose(
        text,
        plugins,
        data_root=config.data_root,
        on_bad_row=config.on_bad_row,
        label_map={word: str(means) for word, means in config.label_map.items()},
    )
    if isinstance(request.options, ColumnOptions) and request.options.task == "auto":
        options = replace(request.options, task=spec.task)  # type: ignore[arg-type]
        request = replace(request, options=options)
    if request.source is not None or request.split in _said(text):
        return request
    return replace(request, split=_usual(request.spec.splits, part, request.split))


def _said(text: str) -> list[str]:
    return text.partition(",")[0].split(":")[1:]


def _usual(splits: Sequence[str], part: str, evaluation: str) -> str:
    """Return ``train`` before ``30k_train``, and the evaluation split at last."""
    for name in USUAL[part]:
        if name in splits:
            return name
        for split in splits:
            if split.endswith(name):
                return split
    return evaluation
