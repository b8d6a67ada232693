"""Declares trainers and a guard whose modules fail when they are imported."""

from safebench import ClassifierSpec, hookimpl
from safebench.evidence import Scores
from safebench.specs import TrainerSpec


@hookimpl
def safebench_trainers():
    """Return trainers whose options, or whose code, cannot be imported."""
    return [
        TrainerSpec(
            name="no_options",
            load="broken_parts.plugin:safebench_trainers",
            options="broken_parts.lacking:Options",
            dataset="starter",
        ),
        TrainerSpec(
            name="no_attribute",
            load="broken_parts.plugin:safebench_trainers",
            options="broken_parts.plugin:Options",
            dataset="starter",
        ),
        TrainerSpec(name="no_code", load="broken_parts.failing:fit", dataset="starter"),
    ]


@hookimpl
def safebench_classifiers():
    """Return a guard that cannot be imported."""
    return [
        ClassifierSpec(
            name="no_guard",
            load="broken_parts.lacking:Guard",
            provides=frozenset({Scores}),
        )
    ]
