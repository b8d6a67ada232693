"""Declares a trainer of one prompt, a trainer of pairs, and their classifier."""

from safebench import ClassifierSpec, hookimpl
from safebench.evidence import Scores
from safebench.specs import TrainerSpec


@hookimpl
def safebench_trainers():
    """Return two trainers that learn in milliseconds."""
    return [
        TrainerSpec(
            name="words",
            summary="nearest centroid of hashed words",
            load="word_trainer.trainer:fit",
            options="word_trainer.options:WordOptions",
            dataset="starter",
            sample=400,
        ),
        TrainerSpec(
            name="word_pairs",
            summary="words of unsafer answers against words of safer ones",
            load="word_trainer.pair_trainer:fit",
            options="word_trainer.options:PairOptions",
            dataset="pku_safe_rlhf",
            task="response_harm",
            pairs=True,
        ),
    ]


@hookimpl
def safebench_classifiers():
    """Return the classifier that loads either artifact."""
    return [
        ClassifierSpec(
            name="words",
            summary="nearest centroid of hashed words",
            load="word_trainer.guard:WordGuard",
            options="word_trainer.guard:GuardOptions",
            identity="word_trainer.guard:identity",
            tasks=frozenset({"prompt_harm", "response_harm"}),
            provides=frozenset({Scores}),
        )
    ]
