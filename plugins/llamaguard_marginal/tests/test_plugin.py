"""What the plugin declares exists and fits together."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import fields
from typing import TYPE_CHECKING

from safebench.compatibility import missing_requirements
from safebench.lazy import import_object
from safebench_llamaguard_marginal import plugin
from safebench_llamaguard_marginal.model.model_files import embedded_guards
from safebench_llamaguard_marginal.options import GuardOptions
from safebench_llamaguard_marginal.profile.catalog import capabilities
from safebench_llamaguard_marginal.strategies.catalog import SPECS

if TYPE_CHECKING:
    from pathlib import Path


def test_all_code_is_there() -> None:
    """Every module:attribute that is declared can be imported and called."""
    (guard,) = plugin.safebench_classifiers()

    named = [guard.load, guard.options, guard.identity, guard.doctor]
    for spec in plugin.safebench_strategies():
        named += [spec.load, *([spec.options] if spec.options else [])]

    assert all(callable(import_object(name)) for name in named)


def test_embedded_guards_are_named_where_the_classifier_is_listed() -> None:
    """As they lie in the package; the default one first."""
    (guard,) = plugin.safebench_classifiers()

    assert re.findall(r"tiny-guard[-\d]*", guard.summary) == [*embedded_guards()]


def test_strategies_request_options_that_the_guard_takes() -> None:
    """Record options of strategies are options of the classifier."""
    (guard,) = plugin.safebench_classifiers()
    known = {field.name for field in fields(import_object(guard.options))}

    assert {"eps", "max_new_tokens"} <= known
    for spec in plugin.safebench_strategies():
        assert {
            spec.recorder_option_names.get(name, name) for name in spec.record
        } <= known
        assert not missing_requirements(guard, spec)
        assert "top_p" in {*spec.ignores, *spec.recorder_option_names}


def test_original_strategies_are_declared_and_marked() -> None:
    """Every replacement is there, and says that it saw the test labels."""
    specs = {spec.name: spec for spec in plugin.safebench_strategies()}
    originals = {n: s for n, s in specs.items() if n.startswith("original_")}
    replacements = {n for spec in specs.values() for n in spec.replacements.values()}

    assert 6 == len(replacements)
    assert {*replacements, "original_logtoku"} == set(originals)
    assert {"test (original)"} == {s.threshold_from for s in originals.values()}


def test_spellings_of_0_1_still_work() -> None:
    """`compat=seed`, `seed_NAME` and the options `seed_*` mean what they meant."""
    specs = {spec.name: spec for spec in plugin.safebench_strategies()}
    options = GuardOptions(seed_eps=0.2, seed_top_p=0.5, seed_max_new_tokens=3)

    assert specs["greedy"].replacements["compat=seed"] == "original_greedy"
    assert ("seed_greedy",) == specs["original_greedy"].aliases
    assert (
        GuardOptions(original_eps=0.2, original_top_p=0.5, original_max_new_tokens=3)
        == options
    )


def test_default_strategy_is_declared() -> None:
    """What runs without --strategy is one of the plugin's own."""
    (guard,) = plugin.safebench_classifiers()

    names = [spec.name for spec in plugin.safebench_strategies()]

    assert guard.default_strategy in names


def test_every_strategy_of_the_table_is_there() -> None:
    """Ids, other names, and what each gives."""
    specs = {spec.name: spec for spec in SPECS}
    unsure = ["ccp", "energy", "margin", "max_token_entropy", "mean_token_entropy"]
    unsure += ["msp", "perplexity"]
    bounded = ["marginal_any", "marginal_fixed", "marginal_slot1", "verdict_entropy"]
    bounded += ["reasoning_spread"]
    scored = ["entropy_uncertainty", "first_token", "greedy", "joint"]
    scored += ["probability_uncertainty", "token_probability", *bounded]

    assert sorted(unsure + scored) == sorted(specs)
    assert all(specs[name].emits == {"uncertainty"} for name in unsure)
    assert sorted(bounded) == sorted(n for n in specs if "bounds" in specs[n].emits)
    assert all({"score", "uncertainty"} <= specs[name].emits for name in scored)
    assert "probability" not in specs["greedy"].emits
    assert {
        "greedy_generation": "greedy",
        "marginal_probability_at_fixed_place": "marginal_fixed",
        "marginal_probability_at_any_place": "marginal_any",
    } == {alias: name for name, spec in specs.items() for alias in spec.aliases}


def test_a_guard_is_known_by_its_profile_and_its_files(
    guard_folder: Path, tmp_path: Path
) -> None:
    """A checkpoint in a folder of any name keeps the model that it is from."""
    folder = tmp_path / "mine"
    shutil.copytree(guard_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["_name_or_path"] = "allenai/wildguard"
    (folder / "config.json").write_text(json.dumps(config))

    named = capabilities(GuardOptions(model=str(folder), profile="llama-guard-3"))
    absent = capabilities(GuardOptions(model="no/such", profile="wildguard"))

    assert {"llama-guard-3", "allenai/wildguard"} <= {*named.families}
    assert ("wildguard",) == absent.families
