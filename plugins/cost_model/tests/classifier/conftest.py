"""Finished trainings of every sort, and what it takes to ask them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from safebench.evidence import Cost
from safebench.records import Sample, Turn
from safebench.training.artifact import Artifact
from safebench_cost_model.model.classifier import CostModel
from safebench_cost_model.model.stack import CostStack
from safebench_cost_model.model.tfidf import CostTfidf
from safebench_cost_model.options import BaselineOptions, CostOptions, StackOptions
from safebench_cost_model.train.trainer import fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.training import Trained, Training

    Artifact = tuple[Path, Trained]

OPTIONS: dict[str, dict[str, Any]] = {
    "mean": {"pooling": "mean", "layers": 1},
    "three berts": {"members": 3},
    "three llamas": {"members": 3},
}


def exchange(prompt: str, response: str | None, name: str = "x") -> Sample:
    """Return a response to a prompt, or a prompt alone."""
    turns = [Turn("user", prompt)]
    turns += [Turn("assistant", response)] if response is not None else []
    return Sample(id=name, turns=tuple(turns), task="response_harm")


def write(out: Path, trained: Trained, **changes: Any) -> Path:
    """Write the manifest as the core does."""
    content = {"kind": trained.classifier, "status": "done", **trained.manifest}
    Artifact(out).write(content | changes)
    return out


@pytest.fixture(scope="session")
def make_sample() -> Callable[..., Sample]:
    """Return what makes a sample: prompt, response or None."""
    return exchange


@pytest.fixture(scope="session")
def finish() -> Callable[..., Path]:
    """Return what writes the manifest of a training: folder, what it gave back."""
    return write


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    """Return short, long and empty responses."""
    return [
        exchange("what about the dog", "then kills the cat"),
        exchange("what", "then helps the cat and the tree and the river and the road"),
        exchange("what about the lamp and the chair", "waits"),
        exchange("what", ""),
    ]


@pytest.fixture(scope="session")
def artifacts(
    bases: dict[str, Path],
    make_training: Callable[..., Training],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Artifact]:
    """Return whole encoders, decoders with adapters, ensembles, and a baseline.

    Each is trained when it is first asked for.
    """
    bert, llama = bases["bert"], bases["llama"]
    kinds: dict[str, Any] = {"bert": bert, "llama": llama, "mean": bert}
    kinds |= {"three berts": bert, "three llamas": llama, "tfidf": "tfidf"}
    kinds["stack"] = "stack"

    class Trainings(dict[str, "Artifact"]):
        """Artifacts by name."""

        def __missing__(self, name: str) -> Artifact:
            out = tmp_path_factory.mktemp("artifacts") / name
            in_steps = name not in ("tfidf", "stack")
            more = {"batch": 32, "epochs": 1.0} if in_steps else {}
            more |= OPTIONS.get(name, {})
            if name == "stack":
                more = {"encoder": str(bert), "max_length": 48}
            trained = fit(make_training(out, kinds[name], **more))
            self[name] = (write(out, trained), trained)
            return self[name]

    return Trainings()


@pytest.fixture(scope="session")
def load() -> Callable[..., Any]:
    """Return what loads the classifier of an artifact: folder, options."""

    def loaded(folder: Path, **options: Any) -> Any:
        kind = json.loads((folder / "safebench.json").read_text())["kind"]
        if kind == "cost_tfidf":
            return CostTfidf(BaselineOptions(model=str(folder)))
        if kind == "cost_stack":
            return CostStack(StackOptions(model=str(folder), device="cpu"))
        return CostModel(CostOptions(model=str(folder), device="cpu", **options))

    return loaded


@pytest.fixture(scope="session")
def costs() -> Callable[[Any, list[Sample]], Cost]:
    """Return what records the costs of samples by a classifier."""

    def recorded(classifier: Any, samples: list[Sample]) -> Cost:
        recording = classifier.record(samples, frozenset({Cost}), lambda _: None)
        evidence: Cost = recording.evidence[Cost]
        return evidence

    return recorded
