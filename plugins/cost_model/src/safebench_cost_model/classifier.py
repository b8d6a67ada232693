"""The classifier `cost_model`: exchanges in, costs and traces out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from safebench.classifiers import Classifier, Recording, Trace
from safebench.errors import ModelError
from safebench.evidence import Cost
from safebench.neural.device import pick_device, pick_dtype

from .encode import Encoder, TextError
from .found import find_cost_model
from .loaded import load_cost_model
from .template import exchange_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench.evidence import Evidence
    from safebench.records import Sample

    from .encode import Encoded
    from .options import CostOptions

    Array = np.ndarray[Any, np.dtype[Any]]

_BATCH_TOKENS = {"cpu": 8192}
_BATCH_TOKENS_ELSEWHERE = 65536
NO_RESPONSE = "a cost model judges a response to a prompt, and here is none"


class CostModel(Classifier):
    """Any sequence classifier with one output, or the mean of several, as a cost."""

    shard_size = 512

    def __init__(self, options: CostOptions) -> None:
        super().__init__(options)
        self.found = find_cost_model(options)
        device = pick_device(options.device)
        dtype = pick_dtype(options.dtype, device)
        self.ensemble, tokenizer, self.collator = load_cost_model(
            self.found, device, dtype
        )
        self.encoder = Encoder(tokenizer, self.found.template, self._length(options))
        fallback = _BATCH_TOKENS.get(device.type, _BATCH_TOKENS_ELSEWHERE)
        self.batch_tokens = options.batch_tokens or fallback

    def _length(self, options: CostOptions) -> int:
        """Return how many tokens are read: as trained, unless options say otherwise."""
        text = self.ensemble.first.config.get_text_config()
        reach = getattr(text, "max_position_embeddings", None) or 512
        asked = options.max_length or self.found.max_length or min(reach, 2048)
        if asked > reach:
            raise ModelError(
                f"max_length={asked}: {self.found.label} takes {reach} tokens"
            )
        return asked

    @property
    def label(self) -> str:
        """The model's name for tables."""
        return self.found.label

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return what "auto" came to."""
        weights = next(self.ensemble.first.parameters())
        return {
            "device": weights.device.type,
            "dtype": str(weights.dtype).removeprefix("torch."),
            "max_length": self.encoder.max_length,
            "members": len(self.ensemble),
            "template": self.found.template.sha256,
        }

    def record(
        self,
        samples: Sequence[Sample],
        wanted: frozenset[type[Evidence]],
        tick: Callable[[int], None],
    ) -> Recording:
        """Return the cost of every sample, in their order."""
        assert wanted == {Cost}, f"cost_model records no {wanted}"
        rows = [self._encode(sample) for sample in samples]
        costs = np.zeros((len(self.ensemble), len(rows)))
        traces = [_trace(row) for row in rows]
        good = [i for i, row in enumerate(rows) if not isinstance(row, str)]
        tick(len(rows) - len(good))
        for batch in self._batches(rows, good):
            since = time.perf_counter()
            encoded = [row for i in batch if not isinstance(row := rows[i], str)]
            costs[:, batch] = self.ensemble.score(self.collator.padded(encoded))
            for i in batch:
                traces[i].seconds = (time.perf_counter() - since) / len(batch)
                traces[i].forward_passes = len(self.ensemble) / len(batch)
            tick(len(batch))
        for i in good:
            if not np.isfinite(costs[:, i]).all():
                costs[:, i], traces[i].error = 0.0, "the cost is no number"
        return Recording(evidence={Cost: self._evidence(costs)}, traces=traces)

    def _evidence(self, costs: Array) -> Cost:
        """Return the mean of costs (M, B), and how far several members differ."""
        arrays = {"value": costs.mean(axis=0)}
        if len(self.ensemble) > 1:
            arrays["spread"] = costs.std(axis=0)
        return Cost(arrays, meta=evidence_meta(self.found.calibration))

    def _encode(self, sample: Sample) -> Encoded | str:
        """Return the token ids of a sample, or why there are none."""
        exchange = exchange_of(sample)
        if exchange is None:
            return NO_RESPONSE
        try:
            return self.encoder.encode(*exchange)
        except TextError as error:
            return str(error)

    def _batches(
        self, rows: Sequence[Encoded | str], good: Sequence[int]
    ) -> list[list[int]]:
        """Group rows, longest first, so that a batch with padding fits the budget."""
        lengths = {i: len(row.ids) for i in good if not isinstance(row := rows[i], str)}
        batches: list[list[int]] = []
        for i in sorted(good, key=lambda i: (-lengths[i], i)):
            if batches and (
                (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= self.batch_tokens
            ):
                batches[-1].append(i)
            else:
                batches.append([i])
        return batches

    def close(self) -> None:
        """Free the networks."""
        vars(self).pop("ensemble", None)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def evidence_meta(calibration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the constants that a strategy may read, as `Cost` describes them."""
    return {
        "bias": calibration.get("bias"),
        "temperature": calibration.get("temperature"),
        "n_calibration": calibration.get("n", 0),
    }


def _trace(row: Encoded | str) -> Trace:
    if isinstance(row, str):
        return Trace(error=row)
    side = "left" if row.dropped else ""
    return Trace(tokens_in=len(row.ids), tokens_dropped=row.dropped, dropped_side=side)
