"""The baseline `frozen_encoder`: mean token embeddings and logistic regression."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.classifiers import Classifier, Recording
from safebench.errors import ModelError
from safebench.evidence import MemberLogits
from safebench.torch_utils import (
    Batcher,
    ModelFolder,
    Placement,
    load_arrays,
    quiet_transformers,
)

from .checkpoints import load_encoder, share_padding
from .encoding import context_and_text, token_limit
from .ensemble import MIN_LENGTH_RATIO, EncoderRunner
from .evidence import two_class_evidence, window_traces
from .location import FROZEN_KIND, find_baseline
from .logistic_regression import LinearModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch

    from safebench.evidence import Evidence
    from safebench.records import Sample
    from safebench.typing import Floats
    from safebench_bert_ensemble.options import FrozenOptions

    from .encoding import Windows

ENCODER_FOLDER = "encoder"
WEIGHTS_FILE = "weights.npz"
_MIN_NORM = 1e-12


class Embedder:
    """An encoder whose mean token vector, scaled to length one, embeds a text."""

    def __init__(self, folder: Path, label: str, options: FrozenOptions) -> None:
        placement = Placement.choose(options.device, options.dtype)
        device, dtype = placement.device, placement.dtype
        self.network = load_encoder(folder, label, dtype).to(device)
        placement.limit_threads(self.network)
        tokenizer = ModelFolder(folder, label).tokenizer()
        share_padding(self.network, tokenizer)
        max_length = token_limit(self.network.config, tokenizer, options.max_length)
        self.runner = EncoderRunner([self.network], tokenizer, max_length)
        self.max_windows = options.max_windows if options.truncation == "windows" else 1
        self.batcher = Batcher.for_device(
            device.type, options.batch_tokens, MIN_LENGTH_RATIO
        )

    def embed(
        self, texts: Sequence[tuple[str, str]], on_progress: Callable[[int], None]
    ) -> tuple[Windows, Floats, set[int]]:
        """Return W windows, their embeddings (W, D), and windows without memory."""
        windows = self.runner.tokenize(texts, self.max_windows)
        vectors, out_of_memory = self.runner.run(
            windows, self.batcher, _mean_embedding, on_progress
        )
        return windows, vectors[:, 0], out_of_memory


def _mean_embedding(network: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the mean of real tokens' last states, scaled to length one, (B, D)."""
    states = network(**inputs).last_hidden_state.float()  # (B, L, D)
    # In float32: sums over hundreds of tokens lose digits in half precision.
    mask = inputs["attention_mask"].unsqueeze(-1).float()
    mean = (states * mask).sum(1) / mask.sum(1)
    unit: torch.Tensor = mean / mean.norm(dim=-1, keepdim=True).clamp_min(_MIN_NORM)
    return unit


def save_frozen_encoder(embedder: Embedder, model: LinearModel, out: Path) -> None:
    """Write encoder, tokenizer and linear model, so that the base may go away."""
    folder = out / ENCODER_FOLDER
    # Files of an earlier training with another base must not stay beside the new ones.
    shutil.rmtree(folder, ignore_errors=True)
    with quiet_transformers():
        embedder.network.save_pretrained(folder)
        embedder.runner.tokenizer.save_pretrained(folder)
    np.savez(out / WEIGHTS_FILE, **model.to_arrays())


def load_linear_model(folder: Path) -> LinearModel:
    """Read the linear model of a baseline; `ModelError` if it is missing or damaged."""
    arrays = load_arrays(folder / WEIGHTS_FILE, *LinearModel.ARRAY_NAMES)
    try:
        return LinearModel.from_arrays(arrays)
    except (ValueError, TypeError) as error:  # an array where a number should be
        raise ModelError(
            f"{folder} is no whole frozen encoder ({error}): train it again"
        ) from None


class FrozenEncoder(Classifier):
    """A trained linear model on a frozen encoder as a classifier."""

    options: FrozenOptions

    def __init__(self, options: FrozenOptions) -> None:
        super().__init__(options)
        self.location = find_baseline(
            options.model, FROZEN_KIND, "minilm-frozen", options.revision
        )
        self.linear_model = load_linear_model(self.location.root)
        trained_length = self.location.manifest.get("max_length", 0)
        self.embedder = Embedder(
            self.location.root / ENCODER_FOLDER,
            self.location.label,
            replace(options, max_length=options.max_length or trained_length),
        )
        width = self.embedder.network.config.hidden_size
        if self.linear_model.coefficients.shape != (width,):
            raise ModelError(
                f"{self.location.root} is no whole frozen encoder: {WEIGHTS_FILE} and "
                f"{ENCODER_FOLDER} are not of one training"
            )

    @property
    def label(self) -> str:
        """The model's name for tables."""
        return self.location.label

    @property
    def facts(self) -> Mapping[str, Any]:
        """What "auto" came to."""
        network = self.embedder.network
        return {
            "device": network.device.type,
            "dtype": str(network.dtype).removeprefix("torch."),
            "max_length": self.embedder.runner.max_length,
        }

    @property
    def state(self) -> Mapping[str, Any]:
        """The token budget, if memory ran out and it shrank."""
        return self.embedder.batcher.state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the budget that an earlier run came to."""
        self.embedder.batcher.restore(state)

    def record(
        self,
        samples: Sequence[Sample],
        kinds: frozenset[type[Evidence]],
        on_progress: Callable[[int], None],
    ) -> Recording:
        """Return the logits of the one member on each window of every sample."""
        assert kinds == {MemberLogits}, f"frozen_encoder records no {kinds}"
        started = time.perf_counter()
        texts = [context_and_text(sample) for sample in samples]
        windows, vectors, out_of_memory = self.embedder.embed(texts, on_progress)
        evidence = two_class_evidence(
            self.linear_model.decision_function(vectors),
            windows.offsets,
            task=self.location.manifest.get("task", "prompt_harm"),
            member=FROZEN_KIND,
        )
        seconds = time.perf_counter() - started
        traces = window_traces(windows, out_of_memory, seconds, 1)
        return Recording(evidence={MemberLogits: evidence}, traces=traces)

    def close(self) -> None:
        """Free the encoder."""
        vars(self).pop("embedder", None)
