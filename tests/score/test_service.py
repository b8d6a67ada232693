"""The scoring service loads a model once and never calls it twice at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from safebench.pipeline.config import ComponentRef, RunConfig
from safebench.score import ScoringService
from safebench.score.conversation import from_text
from safebench.score.service import default_classifier, unavailable_reason

if TYPE_CHECKING:
    from safebench.plugins import Plugins


def config_of(name: str, *strategies: str) -> RunConfig:
    """Return a run of one classifier."""
    return RunConfig(
        classifiers=(ComponentRef(name, name),),
        strategies=tuple(ComponentRef(s, s) for s in strategies),
    )


@pytest.mark.slow
def test_threads_share_one_model_in_turn(odd_guards: Plugins) -> None:
    """Eight conversations at once: one load, and one of them inside at any time."""
    service = ScoringService(odd_guards)
    classifier = service.resolve(config_of("counted"))
    from odd_guards.guard import Counted  # type: ignore[import-not-found]

    Counted.loads = Counted.most = 0
    with ThreadPoolExecutor(8) as pool:
        conversations = [from_text(f"question {i}") for i in range(8)]
        results = list(
            pool.map(lambda q: service.record(classifier, q).judge_all(), conversations)
        )

    assert [0.9] * 8 == [results_of_one[0].score for results_of_one in results]
    assert (1, 1) == (Counted.loads, Counted.most)


def test_a_strategy_does_not_load_the_model_again(odd_guards: Plugins) -> None:
    """Other strategies of the same classifier use the model that is there."""
    service = ScoringService(odd_guards)

    first = service.record(service.resolve(config_of("priced")), from_text("x"))
    second = service.record(
        service.resolve(config_of("priced", "raw_cost")), from_text("x")
    )

    assert first.classifier is second.classifier


def test_other_options_are_another_model(odd_guards: Plugins) -> None:
    """Two word lists, or two saturations, are two classifiers."""
    service = ScoringService(odd_guards)
    other = RunConfig(
        classifiers=(ComponentRef("keyword", "keyword", {"saturation": "3"}),)
    )

    first = service.record(
        service.resolve(config_of("keyword")), from_text("attack")
    ).judge_all()
    second = service.record(service.resolve(other), from_text("attack")).judge_all()

    assert [0.5, 0.25] == [first[0].score, second[0].score]


def test_other_plugins_are_no_default(odd_guards: Plugins) -> None:
    """A guard that someone installed may send texts elsewhere: it must be named."""
    names = {"keyword", "llamaguard"}

    assert default_classifier(odd_guards) in names
    assert "" == unavailable_reason(odd_guards, ComponentRef("priced", "priced"))


@pytest.mark.parametrize("name", ["needy", "nobody"])
def test_what_cannot_run_as_it_is_says_why(odd_guards: Plugins, name: str) -> None:
    """A classifier that needs an option, and one that is not there."""
    assert {"needy": "say model=DIR", "nobody": "unknown classifier"}[
        name
    ] in unavailable_reason(odd_guards, ComponentRef(name, name))
