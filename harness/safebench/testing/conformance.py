"""Checks of the contracts that plugins must keep, for the tests of plugins."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.classifiers import Classifier, Recording
    from safebench.evidence import Evidence, EvidenceBundle
    from safebench.records import Sample
    from safebench.strategies import Context, Judgements

# Each makes the start of every command slower, whether it needs the plugin or not.
HEAVY_MODULES = (
    "torch",
    "transformers",
    "datasets",
    "peft",
    "sklearn",
    "numpy",
    "scipy",
)


def assert_plugin_is_sound(name: str) -> None:
    """Check that a plugin is found, declares well, and that declaring is cheap.

    Every option dataclass must be importable, and every `load` must name something.
    """
    from safebench.options import OptionSchema
    from safebench.plugins import Plugins

    plugins = Plugins()
    plugin = next((p for p in plugins if p.name == name), None)
    assert plugin is not None, f"no entry point {name!r} in group 'safebench'"
    assert plugin.error is None, plugin.error
    for component in plugin.components:
        assert component.summary, f"{component.name}: a summary helps whoever lists it"
        assert OptionSchema.of(component).defaults is not None
        assert callable(component.code()), component.load
    # In a process of its own: this one has imported everything by now.
    probe = (
        f"import sys, {plugin.entry_point.module};"
        f"print(*sorted(set({HEAVY_MODULES!r}) & set(sys.modules)))"
    )
    loaded = subprocess.check_output([sys.executable, "-c", probe], text=True).split()
    assert not loaded, f"declaring {name!r} imports {loaded}"


def assert_classifier_is_sound(
    classifier: Classifier,
    samples: Sequence[Sample],
    kinds: frozenset[type[Evidence]],
    tolerance: float = 0.0,
) -> None:
    """Check that evidence is complete, and depends on the sample alone.

    `samples` need at least three members. The evidence about each may differ by at
    most `tolerance` between one batch, the batch in reverse, and each sample alone.
    """
    assert len(samples) > 2, "three samples or more"  # noqa: PLR2004 - to reorder them
    # Copies: a classifier that changes a sample changes what the next one judges.
    before = [(s.id, s.content, dict(s.meta)) for s in samples]
    progress: list[int] = []
    whole = classifier.record(samples, kinds, progress.append)
    assert sum(progress) == len(samples), f"reported {sum(progress)} of {len(samples)}"
    assert whole.evidence.keys() == kinds, f"recorded {set(whole.evidence)}"
    assert len(whole.traces) == len(samples), f"{len(whole.traces)} traces"
    # In other company: padding, caches and the longest text of a batch are what makes
    # evidence depend on neighbours.
    backwards = classifier.record(samples[::-1], kinds, progress.append)
    for position, sample in enumerate(samples):
        alone = classifier.record([sample], kinds, progress.append)
        _assert_same_evidence(whole, position, alone, 0, tolerance)
        _assert_same_evidence(whole, position, backwards, -1 - position, tolerance)
    assert before == [(s.id, s.content, dict(s.meta)) for s in samples], "changed input"


def _assert_same_evidence(
    first: Recording, i: int, second: Recording, j: int, tolerance: float
) -> None:
    import numpy as np

    for kind, batch in first.evidence.items():
        sample = batch.select([i])
        other = second.evidence[kind].select([j % len(second.traces)])
        for field, array in sample.arrays.items():
            np.testing.assert_allclose(
                array, other[field], atol=tolerance, rtol=0, err_msg=field
            )


def assert_strategy_is_sound(
    judge: Callable[[EvidenceBundle, Context], Judgements],
    evidence: EvidenceBundle,
    context: Context,
) -> None:
    """Check that a strategy is pure, and judges each sample by itself.

    Judging every second sample must give every second judgement.
    """
    import numpy as np

    from safebench.evidence import EvidenceBundle

    # Every second sample: one that looks at its neighbours is judged differently then.
    rows = list(range(0, len(evidence), 2))
    # What a strategy writes into evidence would be read by all that come after it.
    copies = {kind: batch.select(range(len(batch))) for kind, batch in evidence.items()}
    whole = judge(evidence, context)
    half = judge(
        EvidenceBundle({k: v.select(rows) for k, v in evidence.items()}), context
    )
    for name in ("score", "lower", "upper", "categories", "uncertainty"):
        _assert_same_rows(getattr(whole, name), getattr(half, name), rows, name)
    assert [whole.errors[row] for row in rows] == half.errors
    for kind, batch in evidence.items():
        for field, array in copies[kind].arrays.items():
            np.testing.assert_array_equal(array, batch[field], f"changed {field}")


def _assert_same_rows(whole: Any, half: Any, rows: list[int], name: str) -> None:
    import numpy as np

    assert (whole is None) == (half is None), name
    if whole is not None:
        np.testing.assert_allclose(whole[rows], half, rtol=0, atol=1e-12, err_msg=name)
