"""The grid is resolved, merged and refused before any model is imported."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from safebench.compatibility import format_skipped
from safebench.errors import IncompatibleError, OptionError
from safebench.pipeline.config import ComponentRef, RunConfig, parse_component_ref
from safebench.pipeline.grid import build_grid
from safebench.pipeline.rows import is_contaminated
from safebench.plugins import Plugins

pytest.importorskip("safebench_llamaguard_marginal", reason="a guard with options")

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safebench.pipeline.resolved import Grid

TINY = "tiny-guard (embedded)"


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return what is installed."""
    return Plugins()


def grid(
    plugins: Plugins,
    classifiers: Sequence[str] = ("llamaguard",),
    strategies: Sequence[str] = ("marginal_any",),
    **more: Any,
) -> Grid:
    """Build a grid from components as typed."""
    config = RunConfig(
        classifiers=tuple(map(parse_component_ref, classifiers)),
        strategies=tuple(map(parse_component_ref, strategies)),
        **more,
    )
    return build_grid(config, plugins)


def test_requests_of_several_strategies_are_merged_into_one_record(
    plugins: Plugins,
) -> None:
    """The smallest eps and the largest budget serve both."""
    built = grid(
        plugins,
        strategies=[
            "a=marginal_any,eps=0.01,max_new_tokens=20",
            "b=marginal_any,eps=0.001,max_new_tokens=12",
        ],
    )

    options = built.classifiers[0].options
    assert (0.001, 20) == (options.eps, options.max_new_tokens)


def test_a_record_option_of_the_classifier_wins(plugins: Plugins) -> None:
    """What the user says of the classifier itself is not overruled."""
    built = grid(plugins, ["llamaguard,eps=0.1"], ["marginal_any,eps=0.001"])

    assert 0.1 == built.classifiers[0].options.eps


def test_overrides_of_a_model_win_for_that_model_alone(plugins: Plugins) -> None:
    """Parameters of `models` lie over those of `strategies`."""
    models = {TINY: {"threshold": 0.3, "top_p": 0.9}, "other": {"threshold": 0.7}}
    built = grid(plugins, strategies=["marginal_any,threshold=0.2"], models=models)

    strategy = built.classifiers[0].strategies[0]
    assert 0.3 == strategy.threshold
    assert (f"models.other is not used: what runs is {TINY}",) == built.notes
    assert ["marginal_any ignores top_p"] == [
        n.partition(":")[0] for n in strategy.notes
    ]


def test_overrides_may_name_the_classifier(plugins: Plugins) -> None:
    """The model's name comes first where both are there."""
    labels = {"own": {"threshold": 0.4}}
    both = labels | {TINY: {"threshold": 0.3}}
    expected = ((0.4, labels), (0.3, both))

    for threshold, models in expected:
        built = grid(plugins, ["own=llamaguard"], models=models)
        assert threshold == built.classifiers[0].strategies[0].threshold
        assert () == built.notes


def test_an_alias_of_any_case_is_understood(plugins: Plugins) -> None:
    """Names of the literature work."""
    built = grid(plugins, strategies=["Marginal_Probability_At_Any_Place"])

    assert "marginal_any" == built.classifiers[0].strategies[0].spec.name


def test_all_means_every_strategy_that_the_default_record_serves(
    plugins: Plugins,
) -> None:
    """Each classifier gets its own; what cannot read it is skipped with the reason."""
    built = grid(plugins, ["llamaguard", "keyword"], ["all"])

    by_label = {c.label: [s.spec.name for s in c.strategies] for c in built.classifiers}
    assert {"greedy", "marginal_any"} <= set(by_label["llamaguard"])
    assert ["score"] == by_label["keyword"]
    assert "keyword x greedy: greedy needs GreedyVerdict" in map(str, built.skipped)


def test_all_says_nothing_of_what_other_options_would_record(plugins: Plugins) -> None:
    """Texts stand in for trees where the options say so; whoever names one is told."""
    built = grid(plugins, ["llamaguard"], ["all"])
    assert not any("self_consistency" in str(pair) for pair in built.skipped)

    with pytest.raises(IncompatibleError, match="logprobs=no samples=8 records"):
        grid(plugins, ["llamaguard"], ["self_consistency"])


def test_what_is_skipped_is_called_as_the_user_called_it(plugins: Plugins) -> None:
    """Labels, not names: two strategies of one name would read the same."""
    built = grid(plugins, ["words=keyword", "llamaguard"], ["greedy", "two=greedy"])

    assert ["words x greedy: greedy needs GreedyVerdict"] == list(
        map(str, built.skipped[:1])
    )
    assert ["words x greedy, two: each needs GreedyVerdict"] == format_skipped(
        built.skipped
    )


def test_an_option_may_replace_the_strategy(plugins: Plugins) -> None:
    """`compat=original` is read by a strategy of its own, labelled as what it is."""
    built = grid(
        plugins,
        strategies=[
            "marginal_any,compat=original,eps=0.1",
            "own=greedy,compat=original",
            "token_probability,compat=seed",
        ],
    )

    chosen = built.classifiers[0]
    assert [
        ("marginal_any[compat=original]", "original_marginal_any"),
        ("own", "original_greedy"),
        ("token_probability[compat=seed]", "original_token_probability"),
    ] == [(s.label, s.spec.name) for s in chosen.strategies]
    assert (0.001, 0.1) == (chosen.options.eps, chosen.options.original_eps)


def test_without_a_strategy_each_classifier_has_its_own(plugins: Plugins) -> None:
    """The defaults are marginal_any and score."""
    built = grid(plugins, ["llamaguard", "keyword"], [])

    assert [["marginal_any"], ["score"]] == [
        [s.spec.name for s in c.strategies] for c in built.classifiers
    ]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"set": {"eps": "x"}}, "'x' is not a number"),
        ({"set": {"epz": "1"}}, "did you mean 'eps'?"),
        ({"set": {"gard.eps": "1"}}, "no 'gard' here"),
        ({"set": {"eps": "2"}}, "eps=2"),
        ({"set": {"policy": "llama-guard-33"}}, "did you mean 'llama-guard-3'?"),
        ({"models": {TINY: {"treshold": 1}}}, "did you mean 'threshold'?"),
        ({"strategies": ["marginal_any,eps=abc"]}, "'abc' is not a number"),
        ({"strategies": ["marginal_any,compat=sed"]}, "'sed' is not 'original'"),
        ({"strategies": ["msp,compat=seed"]}, "has no option 'compat'"),
        ({"strategies": ["marginal_any", "marginal_any"]}, "tell them apart"),
        ({"classifiers": ["llamaguard", "llamaguard"]}, "tell them apart"),
        ({"classifiers": ["a=llamaguard", "b=llamaguard"], "model": "x"}, "--model"),
        (
            {"classifiers": ["a=llamaguard", "b=llamaguard"], "set": {"eps": "0.1"}},
            "which one? say a.eps or b.eps",
        ),
        ({"model": "nowhere/at-all"}, "nowhere/at-all"),
    ],
)
def test_what_cannot_run_is_refused_with_what_would_work(
    plugins: Plugins,
    more: dict[str, Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One message, before torch is imported."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(Exception, match=r".") as caught:
        grid(plugins, **more)

    assert 2 == caught.value.exit_code, caught.value
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("second", "refused"), [("Theft", True), ("Violence", False), (None, False)]
)
def test_two_policy_files_of_one_id_are_refused(
    plugins: Plugins, tmp_path: Path, second: str | None, refused: bool
) -> None:
    """Unless they hold the same categories, so that either may be read."""
    refs = []
    for name, category in (("a", "Violence"), ("b", second)):
        path = tmp_path / f"{name}.yaml"
        path.write_text(
            "id: house-rules\nversion: 1\n"
            f"categories: {{S1: {{name: {category}, definition: X}}}}\n"
        )
        refs.append(f"{name}=llamaguard" + (f",policy={path}" if category else ""))

    if refused:
        with pytest.raises(OptionError, match="under one id, 'house-rules'"):
            grid(plugins, refs)
    else:
        assert 2 == len(grid(plugins, refs).classifiers)


def test_set_with_a_label_reaches_that_classifier_alone(plugins: Plugins) -> None:
    """LABEL.key picks one of two."""
    built = grid(plugins, ["a=llamaguard", "b=llamaguard"], set={"b.eps": "0.1"})

    assert [0.001, 0.1] == [c.options.eps for c in built.classifiers]


def test_a_grid_without_a_compatible_pair_is_refused(plugins: Plugins) -> None:
    """One pair that cannot run is an error; beside one that can, it is skipped."""
    with pytest.raises(IncompatibleError, match="greedy needs GreedyVerdict"):
        grid(plugins, ["keyword"], ["greedy"])


def test_no_classifier_at_all_lists_what_there_is(plugins: Plugins) -> None:
    """The first question is answered with the names."""
    with pytest.raises(OptionError, match="keyword"):
        build_grid(RunConfig(strategies=(ComponentRef("score", "score"),)), plugins)


@pytest.mark.slow
def test_building_a_grid_imports_no_torch(plugins: Plugins) -> None:
    """Hashing weights and checking options needs no model library."""
    code = (
        "import sys; from safebench.plugins import Plugins;"
        "from safebench.pipeline.config import ComponentRef, RunConfig;"
        "from safebench.pipeline.grid import build_grid;"
        "guard = ComponentRef('llamaguard', 'g');"
        "build_grid(RunConfig(classifiers=(guard,)), Plugins());"
        "print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
    )
    import subprocess

    assert "[]\n" == subprocess.check_output([sys.executable, "-c", code], text=True)


@pytest.mark.parametrize(
    ("families", "flagged"),
    [
        ({"tiny-guard"}, True),
        ({"Tiny Guard"}, True),
        ({"llamaguard2"}, False),
        ((), False),
    ],
)
def test_a_guard_trained_on_a_set_is_flagged_there(
    plugins: Plugins, families: set[str], flagged: bool
) -> None:
    """The model's name says its family, however it is spelled."""
    (chosen,) = grid(plugins).classifiers

    assert flagged is is_contaminated(chosen, frozenset(families))


@pytest.mark.parametrize(
    ("families", "flagged"),
    [({"wildguard"}, True), ({"polyguard", "nemotron3.5"}, True), ({"aegis"}, False)],
)
def test_a_guard_says_which_family_it_is_of(
    plugins: Plugins, families: set[str], flagged: bool
) -> None:
    """A folder may have any name; its profile or its files name what it is from."""
    (chosen,) = grid(plugins).classifiers
    names = ("WildGuard", "nvidia/Nemotron-3.5-Content-Safety", "my-model")
    capabilities = replace(chosen.capabilities, families=names)

    renamed = replace(chosen, capabilities=capabilities)

    assert flagged is is_contaminated(renamed, frozenset(families))
