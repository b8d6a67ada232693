"""Declares guards with a cost, with failures, and with broken promises."""

from safebench import ClassifierSpec, StrategySpec, hookimpl
from safebench.evidence import Cost, Scores

SCORES = {"provides": frozenset({Scores})}
COSTS = {"provides": frozenset({Cost}), "default_strategy": "raw_cost"}


@hookimpl
def safebench_classifiers():
    """Return one guard per oddity."""
    load = "odd_guards.guard"
    both = frozenset({"prompt_harm", "response_harm"})
    return [
        ClassifierSpec(name="priced", load=f"{load}:Priced", tasks=both, **COSTS),
        ClassifierSpec(
            name="listener",
            load=f"{load}:Priced",
            tasks=frozenset({"response_harm"}),
            **COSTS,
        ),
        ClassifierSpec(name="mute", load=f"{load}:Mute", **SCORES),
        ClassifierSpec(name="bursting", load=f"{load}:Bursting", **SCORES),
        ClassifierSpec(name="liar", load=f"{load}:Liar", **SCORES),
        ClassifierSpec(
            name="needy", load=f"{load}:Needy", options=f"{load}:Needs", **SCORES
        ),
        ClassifierSpec(name="counted", load=f"{load}:Counted", **SCORES),
    ]


@hookimpl
def safebench_strategies():
    """Return the cost itself, whose sign decides, and one that always fails."""
    return [
        StrategySpec(
            name="raw_cost",
            load="odd_guards.guard:raw_cost",
            needs=frozenset({Cost}),
            threshold=0.0,
        ),
        StrategySpec(
            name="impossible",
            load="odd_guards.guard:impossible",
            needs=frozenset({Cost}),
        ),
    ]
