"""The classifier `cost_model`: exchanges in, costs and traces out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from safebench.classifiers import Classifier, Recording, Trace
from safebench.errors import ModelError
from safebench.evidence import Cost
from safebench.torch_utils import (
    Batcher,
    Placement,
)

from .encoding import ExchangeEncoder, TokenizationError
from .inference import load_cost_model
from .location import find_cost_model
from .template import prompt_and_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench.evidence import Evidence
    from safebench.records import Sample
    from safebench.typing import Array
    from safebench_cost_model.options import CostOptions

    from .encoding import EncodedExchange

NO_RESPONSE = "a cost model judges a response to a prompt, and here is none"
# What is read where neither options nor model say: costs of very long texts are
# extrapolation, whatever the network could take.
_DEFAULT_MAX_LENGTH = 2048


class CostModel(Classifier):
    """Any sequence classifier with one output, or the mean of several, as a cost."""

    shard_size = 512

    def __init__(self, options: CostOptions) -> None:
        super().__init__(options)
        self.location = find_cost_model(options)
        placement = Placement.choose(options.device, options.dtype)
        self.ensemble, tokenizer, self.collator = load_cost_model(
            self.location, placement
        )
        self.encoder = ExchangeEncoder(
            tokenizer, self.location.template, self._max_length(options)
        )
        self.batcher = Batcher.for_device(placement.device.type, options.batch_tokens)

    def _max_length(self, options: CostOptions) -> int:
        """Return how many tokens are read: as trained, unless options say otherwise."""
        text_config = self.ensemble.first_network.config.get_text_config()
        positions = getattr(text_config, "max_position_embeddings", None) or 512
        max_length = (
            options.max_length
            or self.location.max_length
            or min(positions, _DEFAULT_MAX_LENGTH)
        )
        if max_length > positions:
            raise ModelError(
                f"max_length={max_length}: {self.location.label} takes "
                f"{positions} tokens"
            )
        return max_length

    @property
    def label(self) -> str:
        """The model's name for tables."""
        return self.location.label

    @property
    def facts(self) -> Mapping[str, Any]:
        """What "auto" came to."""
        weights = next(self.ensemble.first_network.parameters())
        return {
            "device": weights.device.type,
            "dtype": str(weights.dtype).removeprefix("torch."),
            "max_length": self.encoder.max_length,
            "members": len(self.ensemble),
            "template": self.location.template.sha256,
        }

    def record(
        self,
        samples: Sequence[Sample],
        kinds: frozenset[type[Evidence]],
        on_progress: Callable[[int], None],
    ) -> Recording:
        """Return the cost of every sample, in their order.

        A sample without a response, or one that cannot be tokenized, has an error in
        its trace and a cost of 0.
        """
        assert kinds == {Cost}, f"cost_model records no {kinds}"
        costs = np.zeros((len(self.ensemble), len(samples)))
        traces: list[Trace] = []
        encoded: dict[int, EncodedExchange] = {}
        for i, sample in enumerate(samples):
            exchange = self._encode(sample)
            traces.append(error_trace(exchange))
            if not isinstance(exchange, str):
                encoded[i] = exchange
        on_progress(len(samples) - len(encoded))
        rows = list(encoded)
        lengths = [len(encoded[i].ids) for i in rows]
        for planned in self.batcher.plan(lengths):
            started = time.perf_counter()
            batch = [rows[k] for k in planned]
            inputs = self.collator.pad_rows([encoded[i] for i in batch])
            costs[:, batch] = self.ensemble.score(inputs)
            for i in batch:
                traces[i].seconds = (time.perf_counter() - started) / len(batch)
                traces[i].forward_passes = len(self.ensemble) / len(batch)
            on_progress(len(batch))
        for i in rows:
            # A network that diverged, or that overflows in half precision.
            if not np.isfinite(costs[:, i]).all():
                costs[:, i], traces[i].error = 0.0, "the cost is no number"
        return Recording(evidence={Cost: self._evidence(costs)}, traces=traces)

    def _evidence(self, costs: Array) -> Cost:
        """Return the mean of costs (M, B), and how far several members differ."""
        arrays = {"value": costs.mean(axis=0)}
        if len(self.ensemble) > 1:
            arrays["spread"] = costs.std(axis=0)
        return Cost(arrays, meta=calibration_meta(self.location.calibration))

    def _encode(self, sample: Sample) -> EncodedExchange | str:
        """Return the token ids of a sample, or why there are none."""
        exchange = prompt_and_response(sample)
        if exchange is None:
            return NO_RESPONSE
        try:
            return self.encoder.encode(*exchange)
        except TokenizationError as error:
            return str(error)

    def close(self) -> None:
        """Free the networks."""
        vars(self).pop("ensemble", None)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def calibration_meta(calibration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the constants that a strategy may read, as `Cost` describes them."""
    return {
        "bias": calibration.get("bias"),
        "temperature": calibration.get("temperature"),
        "n_calibration": calibration.get("n", 0),
    }


def error_trace(exchange: EncodedExchange | str) -> Trace:
    """Return the trace of token ids, or of the reason why there are none."""
    if isinstance(exchange, str):
        return Trace(error=exchange)
    return Trace(
        tokens_in=len(exchange.ids),
        tokens_dropped=exchange.dropped,
        dropped_side="left" if exchange.dropped else "",
    )
