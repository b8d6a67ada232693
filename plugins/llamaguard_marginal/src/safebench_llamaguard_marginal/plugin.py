"""The plugin's declarations: one classifier and its strategies, as inert specs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench import ClassifierSpec, hookimpl
from safebench.evidence import SeedTree, VerdictTree
from safebench.records import TASKS
from safebench_llamaguard_marginal.compat.catalog import SPECS as ORIGINAL_SPECS
from safebench_llamaguard_marginal.strategies.catalog import SPECS, TEXT_SPECS
from safebench_llamaguard_marginal.texts.evidence import VerdictTexts

if TYPE_CHECKING:
    from safebench import StrategySpec

_PACKAGE = "safebench_llamaguard_marginal"


@hookimpl
def safebench_classifiers() -> list[ClassifierSpec]:
    """Offer any Hugging Face causal guard as a recorder of verdict trees."""
    return [
        ClassifierSpec(
            name="llamaguard",
            aliases=("guard",),
            # the guards in this package by their names
            summary="a generative guard: Llama Guard, its kin, or an embedded one: "
            "tiny-guard (default), tiny-guard-2, tiny-guard-3",
            load=f"{_PACKAGE}.opening:open_guard",
            options=f"{_PACKAGE}.options:GuardOptions",
            identity=f"{_PACKAGE}.identity:model_identity",
            doctor=f"{_PACKAGE}.doctor:doctor",
            # one of both, as the options say: `capabilities`
            provides={
                VerdictTree: frozenset(),
                VerdictTexts: frozenset({"sample"}),
            },
            on_request=frozenset({SeedTree}),
            capabilities=f"{_PACKAGE}.profile.catalog:capabilities",
            settle=f"{_PACKAGE}.engines.catalog:settle_options",
            profile_doctor=f"{_PACKAGE}.profile.check:check_profile",
            profiles=f"{_PACKAGE}.profile.catalog:guard_profiles",
            # The union over all profiles: `capabilities` says those of one.
            tasks=frozenset(TASKS),
            policy="llama-guard-3",
            default_strategy="marginal_any",
            reads_documents=True,
        )
    ]


@hookimpl
def safebench_strategies() -> list[StrategySpec]:
    """Offer the strategies on verdict trees and texts, and the original ones."""
    return [*SPECS, *TEXT_SPECS, *ORIGINAL_SPECS]
