"""The desk loads a model once and never asks it twice at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from safebench.asking import Desk
from safebench.asking.defaults import default_classifier, why_not
from safebench.asking.question import typed
from safebench.run.config import RunConfig
from safebench.run.terms import Term

if TYPE_CHECKING:
    from safebench.plugins import Plugins


def asked(name: str, *strategies: str) -> RunConfig:
    """Return a run of one classifier."""
    return RunConfig(
        classifiers=(Term(name, name),),
        strategies=tuple(Term(s, s) for s in strategies),
    )


def test_threads_share_one_model_in_turn(odd: Plugins) -> None:
    """Eight questions at once: one load, one question inside at any time."""
    desk = Desk(odd)
    chosen = desk.choose(asked("counted"))
    from odd_guards.guard import Counted  # type: ignore[import-not-found]

    Counted.loads = Counted.most = 0
    with ThreadPoolExecutor(8) as pool:
        questions = [typed(f"question {i}") for i in range(8)]
        found = list(pool.map(lambda q: desk.record(chosen, q).answers(), questions))

    assert [0.9] * 8 == [answers[0].score for answers in found]
    assert (1, 1) == (Counted.loads, Counted.most)


def test_a_strategy_does_not_load_the_model_again(odd: Plugins) -> None:
    """Other readings of the same classifier use the model that is there."""
    desk = Desk(odd)

    first = desk.record(desk.choose(asked("priced")), typed("x"))
    second = desk.record(desk.choose(asked("priced", "raw_cost")), typed("x"))

    assert first.model is second.model


def test_other_options_are_another_model(odd: Plugins) -> None:
    """Two word lists, or two saturations, are two classifiers."""
    desk = Desk(odd)
    other = RunConfig(classifiers=(Term("keyword", "keyword", {"saturation": "3"}),))

    first = desk.record(desk.choose(asked("keyword")), typed("attack")).answers()
    second = desk.record(desk.choose(other), typed("attack")).answers()

    assert [0.5, 0.25] == [first[0].score, second[0].score]


def test_strangers_are_not_asked_by_default(odd: Plugins) -> None:
    """A guard that someone installed may send texts elsewhere: it must be named."""
    names = {"keyword", "llamaguard"}

    assert default_classifier(odd) in names
    assert "" == why_not(odd, "priced")


@pytest.mark.parametrize("name", ["needy", "nobody"])
def test_what_cannot_run_as_it_is_says_why(odd: Plugins, name: str) -> None:
    """A classifier that needs an option, and one that is not there."""
    assert {"needy": "say model=DIR", "nobody": "unknown classifier"}[name] in why_not(
        odd, name
    )
