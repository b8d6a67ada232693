"""What is declared exists, and fits together."""

from __future__ import annotations

from safebench.compatibility import missing_requirements
from safebench.plugins import Plugins
from safebench.specs import ClassifierSpec, StrategySpec, TrainerSpec
from safebench.testing import assert_plugin_is_sound


def test_the_plugin_is_sound() -> None:
    """It is found, declares well, and declaring imports nothing heavy."""
    assert_plugin_is_sound("cost_model")


def test_every_strategy_reads_both_classifiers() -> None:
    """Each strategy on costs takes a trained model and the baseline."""
    plugins = Plugins()
    names = ("cost", "cost_sign", "cost_sigmoid", "cost_platt", "cost_spread")
    for classifier in ("cost_model", "cost_tfidf"):
        spec = plugins.get(ClassifierSpec, classifier)
        assert spec.default_strategy in names
        for name in names:
            assert [] == missing_requirements(spec, plugins.get(StrategySpec, name))


def test_only_the_calibrated_strategies_emit_probabilities() -> None:
    """cost_sigmoid looks like one, and is none."""
    plugins = Plugins()
    emits = {
        name: "probability" in plugins.get(StrategySpec, name).emits
        for name in ("cost", "cost_sign", "cost_sigmoid", "cost_platt")
    }

    expected = {"cost": True, "cost_platt": True}
    assert expected | {"cost_sign": False, "cost_sigmoid": False} == emits


def test_the_trainer_asks_for_pairs_of_responses() -> None:
    """Its data are pairs labelled for response harm."""
    spec = Plugins().get(TrainerSpec, "cost_model")

    assert (True, "response_harm", "pku_safe_rlhf") == (
        spec.pairs,
        spec.task,
        spec.dataset,
    )
