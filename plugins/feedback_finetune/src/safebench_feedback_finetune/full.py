"""`feedback full`: collect, train and evaluate in one folder; each stage can resume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.errors import OptionError

from .collect import collection_loop
from .evaluate import evaluation
from .options import (
    CollectOptions,
    EvaluateOptions,
    FeedbackTrainOptions,
    stage_options,
)
from .train import training_run
from .train.lora_training import check_arguments

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench import Plugins

COLLECTED_FOLDER, IMPROVED_FOLDER = "collected", "improved"


def run(options: Any, plugins: Plugins, say: Callable[[str], None]) -> int:
    """Run all stages and return the exit code of the last.

    A finished stage is not repeated. The options of every stage are checked before the
    first one starts.
    """
    if not options.out:
        raise OptionError("where to? --out DIR")
    collected = str(Path(options.out) / COLLECTED_FOLDER)
    improved = str(Path(options.out) / IMPROVED_FOLDER)
    collect = stage_options(CollectOptions, options, out=collected)
    train = stage_options(
        FeedbackTrainOptions, options, out=improved, collected=collected
    )
    evaluate = stage_options(EvaluateOptions, options, improved=improved)
    check_arguments(train)
    say("--- collect")
    collection_loop.run(collect, plugins, say)
    say("--- train")
    training_run.run(train, plugins, say)
    say("--- evaluate")
    return evaluation.run(evaluate, plugins, say)
