"""A stack: word counts and a frozen encoder, each with a linear cost, and their sum.

    cost = a cost_words + b cost_encoder + bias

Both costs and the sum are learnt by the same loss; a and b from costs of responses
whose prompts the two had not seen (stacking: Wolpert 1992, "Stacked generalization").
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.classifiers import Classifier, Recording, Trace
from safebench.errors import ModelError
from safebench.evidence import Cost
from safebench.torch_utils import Placement, load_arrays

from .artifact import BASELINE_FOLDER, ENCODER_FOLDER, STACK_FILE
from .classifier import NO_RESPONSE, calibration_meta, error_trace
from .encoding import TokenizationError
from .exchange_embedder import ExchangeEmbedder
from .location import find_stack
from .template import prompt_and_response
from .tfidf import load_tfidf

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from safebench.evidence import Evidence
    from safebench.records import Sample
    from safebench.typing import Array
    from safebench_cost_model.options import StackOptions

    from .encoding import EncodedExchange
    from .tfidf import ExchangeTfidfModel


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StackModel:
    """The linear parts of a stack, beside its encoder."""

    words: ExchangeTfidfModel
    encoder_weights: Array  # (F,) on the encoder's features as they are
    encoder_bias: float
    mix: Array  # (2,) of the costs of words and encoder
    bias: float

    def costs(self, exchanges: Sequence[tuple[str, str]], features: Array) -> Array:
        """Return the costs (n,) of exchanges and their encoder features (n, F)."""
        if not exchanges:
            return np.zeros(0)
        words = self.words.costs(exchanges)
        encoder = features @ self.encoder_weights + self.encoder_bias
        costs: Array = np.column_stack([words, encoder]) @ self.mix + self.bias
        return costs

    def save(self, folder: Path) -> str:
        """Write everything but the encoder; return the SHA-256 of the words."""
        words_sha256 = self.words.save(folder / BASELINE_FOLDER)
        np.savez(
            folder / STACK_FILE,
            allow_pickle=False,
            encoder_weights=self.encoder_weights,
            encoder_bias=np.array(self.encoder_bias),
            mix=self.mix,
            bias=np.array(self.bias),
        )
        return words_sha256


def load_stack(folder: Path) -> StackModel:
    """Read what `StackModel.save` wrote; raises `ModelError` if it is damaged."""
    names = ("encoder_weights", "encoder_bias", "mix", "bias")
    stored = load_arrays(folder / STACK_FILE, *names)
    words = load_tfidf(folder / BASELINE_FOLDER)
    try:
        model = StackModel(
            words=words,
            encoder_weights=stored["encoder_weights"],
            encoder_bias=float(stored["encoder_bias"]),
            mix=stored["mix"],
            bias=float(stored["bias"]),
        )
        # Shapes that do not fit show here.
        model.costs([("", "")], np.zeros((1, len(model.encoder_weights))))
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"{folder / STACK_FILE} is damaged: {reason}") from error
    return model


class CostStack(Classifier):
    """The stack as a classifier."""

    def __init__(self, options: StackOptions) -> None:
        super().__init__(options)
        self.location = find_stack(options)
        folder = self.location.folder
        self.placement = Placement.choose(options.device, options.dtype)
        self.model = load_stack(folder)
        self.encoder = ExchangeEmbedder(
            folder / ENCODER_FOLDER,
            self.location.label,
            placement=self.placement,
            max_length=self.location.max_length,
            batch_tokens=options.batch_tokens,
        )
        if self.encoder.width != len(self.model.encoder_weights):
            raise ModelError(
                f"{folder}: {STACK_FILE} and {ENCODER_FOLDER} are not of one training"
            )

    @property
    def label(self) -> str:
        """The model's name for tables."""
        return self.location.label

    @property
    def facts(self) -> Mapping[str, Any]:
        """What "auto" came to."""
        return {
            "device": self.placement.device.type,
            "dtype": str(self.placement.dtype).removeprefix("torch."),
            "max_length": self.encoder.encoder.max_length,
        }

    def record(
        self,
        samples: Sequence[Sample],
        kinds: frozenset[type[Evidence]],
        on_progress: Callable[[int], None],
    ) -> Recording:
        """Return the cost of every sample, in their order.

        One without a response, or that cannot be tokenized, has an error and a cost of
        0.
        """
        assert kinds == {Cost}, f"cost_stack records no {kinds}"
        started = time.perf_counter()
        costs = np.zeros(len(samples))
        exchanges = [prompt_and_response(sample) for sample in samples]
        read = [self._encode(exchange) for exchange in exchanges]
        traces = [error_trace(row) for row in read]
        rows = [i for i, row in enumerate(read) if not isinstance(row, str)]
        on_progress(len(samples) - len(rows))
        encoded = [row for row in read if not isinstance(row, str)]
        features = self.encoder.embed_encoded(encoded, on_progress)
        costs[rows] = self.model.costs(
            [exchanges[i] or ("", "") for i in rows], features
        )
        self._finish(traces, rows, costs, time.perf_counter() - started)
        meta = calibration_meta(self.location.calibration)
        return Recording(
            evidence={Cost: Cost({"value": costs}, meta=meta)}, traces=traces
        )

    def _finish(
        self, traces: list[Trace], rows: list[int], costs: Array, seconds: float
    ) -> None:
        """Put time and failures into the traces of the rows that were read."""
        for i in rows:
            traces[i].seconds = seconds / len(rows)
            if not np.isfinite(costs[i]):  # an encoder that overflows in half precision
                costs[i], traces[i].error = 0.0, "the cost is no number"

    def _encode(self, exchange: tuple[str, str] | None) -> EncodedExchange | str:
        if exchange is None:
            return NO_RESPONSE
        try:
            return self.encoder.encoder.encode(*exchange)
        except TokenizationError as error:
            return str(error)

    def close(self) -> None:
        """Free the encoder."""
        vars(self).pop("encoder", None)
