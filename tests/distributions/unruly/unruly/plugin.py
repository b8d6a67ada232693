"""Declares guards and strategies that misbehave, each in one way."""

from safebench import ClassifierSpec, StrategySpec, hookimpl
from safebench.evidence import Scores

CLASSIFIERS = {
    "load-raises": "LoadRaises",
    "load-exits": "LoadExits",
    "load-nothing": "LoadNothing",
    "raises": "Raises",
    "exits": "Exits",
    "dies": "Dies",
    "nothing": "Nothing",
    "not-a-number": "NotANumber",
    "too-sure": "TooSure",
    "chatty": "Chatty",
    "picky": "Picky",
    "calm": "Guard",
}
STRATEGIES = {
    "s-raises": "raises",
    "s-exits": "exits",
    "s-dies": "dies",
    "s-nothing": "nothing",
    "s-too-few": "too_few",
    "s-too-sure": "too_sure",
    "s-endless": "endless",
    "s-greedy": "greedy",
    "s-chatty": "chatty",
}


@hookimpl
def safebench_classifiers():
    """Return the guards."""
    return [
        ClassifierSpec(
            name=name, load=f"unruly.parts:{load}", provides=frozenset({Scores})
        )
        for name, load in CLASSIFIERS.items()
    ]


@hookimpl
def safebench_strategies():
    """Return the strategies."""
    return [
        StrategySpec(
            name=name,
            load=f"unruly.parts:{load}",
            needs=frozenset({Scores}),
            emits=frozenset({"score", "probability"}),
        )
        for name, load in STRATEGIES.items()
    ]
