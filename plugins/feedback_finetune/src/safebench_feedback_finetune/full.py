"""`feedback full`: collect, train and evaluate in one folder, each going on alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.errors import OptionError

from . import collect, evaluate, train
from .options import CollectOptions
from .train_options import EvaluateOptions, TrainOptions, stage_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.plugins import Plugins

COLLECTED, IMPROVED = "collected", "improved"


def run(options: Any, plugins: Plugins, say: Callable[[str], None]) -> int:
    """Do all stages; what is finished is kept. Returns the last exit code.

    All options are checked before anything is done.
    """
    if not options.out:
        raise OptionError("where to? --out DIR")
    out = Path(options.out)
    folders = {name: str(out / name) for name in (COLLECTED, IMPROVED)}
    chosen = [
        stage_options(CollectOptions, options, out=folders[COLLECTED]),
        stage_options(
            TrainOptions, options, out=folders[IMPROVED], collected=folders[COLLECTED]
        ),
        stage_options(EvaluateOptions, options, improved=folders[IMPROVED]),
    ]
    code = 0
    for stage, given in zip((collect, train, evaluate), chosen, strict=True):
        say(f"--- {stage.__name__.rpartition('.')[2]}")
        code = stage.run(given, plugins, say)
    return code
