"""The stack: what is stored scores as what was fitted, and its sum is out of fold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.errors import OptionError
from safebench.evidence import Cost
from safebench.training import Artifact
from safebench_cost_model.model.stack import CostStack, load_stack
from safebench_cost_model.options import CostTrainOptions, StackOptions
from safebench_cost_model.train.linear import LinearTerms
from safebench_cost_model.train.stack import StackTrainer
from safebench_cost_model.train.trainer import check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.records import Dataset
    from safebench.training import Training


@pytest.mark.slow
def test_a_stack_is_stored_as_it_was_fitted(
    make_training: Callable[..., Training],
    severity_set: dict[str, Dataset],
    tiny_bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Costs of the test pairs by the artifact are those of the training, and the sum.

    The sum is learnt from costs of rows that neither part was fitted on.
    """
    training = make_training(
        tmp_path / "stack", "stack", encoder=str(tiny_bert), max_length=48
    )
    sizes: list[int] = []
    fit_terms = LinearTerms.fit

    def counted(self: LinearTerms, *args: Any) -> Any:
        sizes.append(len(self.unsafe))
        return fit_terms(self, *args)

    monkeypatch.setattr(LinearTerms, "fit", counted)
    fitted = StackTrainer.of(training.options)(training)
    whole = sizes[0]
    inner = sizes[12:-1]  # after the paths of six penalties for both parts
    assert [whole] * 12 == sizes[:12]
    assert whole == sizes[-1]
    assert all(n < whole for n in inner)
    assert 4 * whole == sum(inner[::2]), "five folds, each without its own rows"
    Artifact(training.out).write(
        {**fitted.finish().manifest, "kind": "cost_stack", "status": "done"}
    )
    classifier = CostStack(StackOptions(model=str(training.out), device="cpu"))
    samples = list(severity_set["test"].samples)
    evidence: Any = classifier.record(samples, frozenset({Cost}), lambda _: None)
    by_content = dict(
        zip((s.content for s in samples), evidence.evidence[Cost]["value"], strict=True)
    )
    again = [[by_content[c] for c in pair.contents] for pair in fitted.pairs]
    assert fitted.costs == pytest.approx(np.array(again), abs=1e-4)
    model = load_stack(training.out)
    exchange = [(samples[0].turns[0].text, samples[0].judged.text)]
    features = classifier.encoder.embed(exchange)
    parts = (
        model.words.costs(exchange)[0],
        float(features[0] @ model.encoder_weights) + model.encoder_bias,
    )
    expected = model.mix @ np.array(parts) + model.bias
    assert expected == pytest.approx(by_content[samples[0].content], abs=1e-4)


def test_what_is_no_encoder_is_refused_before_data_are_read(tiny_llama: Path) -> None:
    """And so are arguments of a training in steps."""
    with pytest.raises(OptionError, match="is a decoder; minilm"):
        check(CostTrainOptions(base="stack", encoder=str(tiny_llama)), {})
    with pytest.raises(OptionError, match="the base stack is not trained in steps"):
        check(CostTrainOptions(base="stack"), {"seed": 1})
