"""Costs of samples: what they depend on, what cannot be judged, what was cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.evidence import Cost
from safebench.testing import assert_classifier_is_sound

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.records import Sample
    from safebench.training import Trained

    Artifacts = dict[str, tuple[Path, Trained]]
    Load = Callable[..., Any]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["bert", "mean", "llama", "three berts", "three llamas", "tfidf", "stack"]
)
def test_costs_depend_on_the_sample_alone(
    name: str, artifacts: Artifacts, samples: list[Sample], load: Load
) -> None:
    """Neither neighbours nor order nor batches change a cost beyond rounding."""
    classifier = load(artifacts[name][0])

    assert_classifier_is_sound(classifier, samples, frozenset({Cost}), 1e-5)


@pytest.mark.slow
def test_small_batches_give_the_same_costs(
    artifacts: Artifacts, samples: list[Sample], load: Load, costs: Load
) -> None:
    """A budget of one row a batch changes nothing but rounding."""
    folder = artifacts["llama"][0]

    alone = costs(load(folder, batch_tokens=1), samples)["value"]

    np.testing.assert_allclose(costs(load(folder), samples)["value"], alone, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert", "tfidf"])
def test_a_prompt_alone_and_broken_text_have_no_cost(
    name: str, artifacts: Artifacts, make_sample: Callable[..., Sample], load: Load
) -> None:
    """Their traces say why; the others are judged."""
    broken = [make_sample("what", text) for text in (None, "helps", "\ud800")]

    recording = load(artifacts[name][0]).record(
        broken, frozenset({Cost}), lambda _: None
    )

    errors = [trace.error for trace in recording.traces]
    assert "judges a response" in (errors[0] or "")
    assert errors[1] is None
    if name == "bert":
        assert "cannot be tokenised" in (errors[2] or "")


def test_long_responses_are_cut_on_the_left_and_say_so(
    artifacts: Artifacts, make_sample: Callable[..., Sample], load: Load
) -> None:
    """Traces tell how many tokens went."""
    long = make_sample("what " * 100, "helps " * 100)

    recording = load(artifacts["bert"][0]).record(
        [long], frozenset({Cost}), lambda _: None
    )

    assert (48, 155, "left") == (
        recording.traces[0].tokens_in,
        recording.traces[0].tokens_dropped,
        recording.traces[0].dropped_side,
    )


@pytest.mark.slow
def test_a_pass_of_every_member_is_counted(
    artifacts: Artifacts, samples: list[Sample], load: Load
) -> None:
    """One batch of four samples is read three times by three members."""
    classifier = load(artifacts["three berts"][0])

    recording = classifier.record(samples, frozenset({Cost}), lambda _: None)

    assert [3 / 4] * 4 == [trace.forward_passes for trace in recording.traces]
