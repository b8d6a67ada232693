"""The option `record=lean`: less work, the same answers of every strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench import Plugins, StrategySpec
from safebench.datasets import load_dataset, resolve_dataset
from safebench.evidence import EvidenceBundle, VerdictTree
from safebench.lazy import import_object
from safebench.specs import fields_by_kind
from safebench.strategies import Context
from safebench_llamaguard_marginal.classifier import LlamaGuard
from safebench_llamaguard_marginal.identity import model_identity
from safebench_llamaguard_marginal.options import GuardOptions

if TYPE_CHECKING:
    from safebench.classifiers import Recording

# What is left out has less than a millionth, and a log-odds amplifies it where both
# sides are small; rounding in float32 adds its part.
CLOSE = {"rtol": 2e-4, "atol": 2e-5}


def recorded(record: Any) -> tuple[Recording, LlamaGuard]:
    """Return what is recorded of some prompts of the starter set."""
    samples = load_dataset(resolve_dataset("starter", Plugins())).samples[::50]
    guard = LlamaGuard(GuardOptions(record=record))
    return guard.record(samples, frozenset({VerdictTree}), lambda _: None), guard


def is_read_from_trees(kind: type) -> bool:
    """Tell whether a kind of evidence is the verdict tree, or derived from it."""
    sources = getattr(kind, "derived_from", {})
    return kind is VerdictTree or any(map(is_read_from_trees, sources))


def strategies() -> list[StrategySpec]:
    """Return the installed strategies that trees alone suffice for."""
    return [
        spec
        for spec in Plugins().all(StrategySpec)
        if all(map(is_read_from_trees, fields_by_kind(spec.needs)))
    ]


@pytest.mark.slow
def test_every_strategy_says_the_same_of_a_lean_record() -> None:
    """Scores, uncertainties and categories, for two thirds of the nodes."""
    (full, _), (lean, guard) = recorded("full"), recorded("lean")
    names = set()
    for spec in strategies():
        said = []
        for recording in (full, lean):
            options = import_object(spec.options)() if spec.options else None
            bundle = EvidenceBundle(dict(recording.evidence))
            context = Context(
                task="prompt_harm", policy=guard.guard.policy, options=options
            )
            said.append(spec.code()(bundle, context))
        for field in ("score", "decision", "uncertainty", "categories"):
            a, b = (getattr(judgements, field) for judgements in said)
            assert (a is None) == (b is None), (spec.name, field)
            if a is not None:
                np.testing.assert_allclose(
                    a, b, err_msg=f"{spec.name} {field}", **CLOSE
                )
        names.add(spec.name)
    assert {"marginal_any", "joint", "first_token", "ccp", "energy", "msp"} <= names
    nodes = [sum(t.tokens_out for t in r.traces) for r in (full, lean)]
    assert nodes[1] < 0.75 * nodes[0]


def test_a_lean_record_is_other_evidence() -> None:
    """Its key differs; that of a full one is what it was before there was a choice."""
    full, lean = (
        model_identity(GuardOptions(record=record)) for record in ("full", "lean")
    )

    assert "record" not in full["record"]
    assert "lean" == lean["record"]["record"]
    assert full == model_identity(GuardOptions())
