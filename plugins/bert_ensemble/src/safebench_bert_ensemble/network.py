"""Members that answer together: texts in, logits of every window and member out."""

from __future__ import annotations

import hashlib
import inspect
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .batching import Batcher
from .encoding import as_rows, collate, encode, token_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .encoding import Windows

    Array = np.ndarray[Any, np.dtype[Any]]
    Texts = Sequence[tuple[str, str]]
    Tick = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Member:
    """A network on its device, and the tokenizer whose ids it reads."""

    name: str
    network: Any
    tokenizer: Any


@dataclass(slots=True)
class Answers:
    """What was read: values (W, ...) of the windows, and rows that had no memory."""

    windows: Windows
    values: Array
    failed: set[int]


class Reader:
    """Networks that share a tokenizer, run batch by batch over windows."""

    def __init__(self, networks: Sequence[Any], tokenizer: Any, limit: int) -> None:
        self.networks = list(networks)
        self.tokenizer, self.limit = tokenizer, limit
        accepted = [set(inspect.signature(n.forward).parameters) for n in networks]
        self.inputs = set.intersection(*accepted)

    def windows(self, texts: Texts, most: int) -> Windows:
        """Cut texts into windows of these networks' tokens."""
        return encode(self.tokenizer, texts, self.limit, most)

    def read(
        self,
        windows: Windows,
        owners: Sequence[int],
        batcher: Batcher,
        forward: Callable[[Any, dict[str, torch.Tensor]], torch.Tensor],
        tick: Tick,
    ) -> tuple[Array, set[int]]:
        """Return what `forward` makes of each window by each network, (W, M, ...).

        `tick` counts owners of windows (W,) that are done. Also returns the windows
        for which memory did not suffice.
        """
        rows, left = as_rows(windows), Counter(owners)
        failed: set[int] = set()
        values: Array | None = None
        pad = self.tokenizer.pad_token_id

        def work(batch: list[int]) -> Array:
            inputs = collate([rows[i] for i in batch], pad)
            return self._forward(inputs, forward)

        for batch, found in batcher.run(windows.lengths, work):
            if found is None:
                failed.update(batch)
            else:
                if values is None:
                    values = np.zeros((len(rows), *found.shape[1:]), np.float32)
                values[batch] = found
            left.subtract(owners[i] for i in batch)
            tick(sum(not left[owner] for owner in {owners[i] for i in batch}))
        if values is None:
            values = np.zeros((len(rows), len(self.networks), 2), np.float32)
        return values, failed

    def _forward(
        self,
        inputs: dict[str, torch.Tensor],
        forward: Callable[[Any, dict[str, torch.Tensor]], torch.Tensor],
    ) -> Array:
        device = next(self.networks[0].parameters()).device
        known = {k: v.to(device) for k, v in inputs.items() if k in self.inputs}
        with torch.inference_mode():
            outputs = [forward(network, known) for network in self.networks]
            stacked = torch.stack(outputs, dim=1).float()  # (B, M, ...)
        found: Array = stacked.cpu().numpy()
        return found


class Ensemble:
    """M classifiers with the same classes; texts longer than `limit` are windowed."""

    def __init__(
        self,
        members: Sequence[Member],
        classes: Sequence[str],
        max_length: int,
        max_windows: int,
        batch_tokens: int,
    ) -> None:
        self.names = [member.name for member in members]
        self.classes = list(classes)
        self.max_windows = max_windows
        self.batcher = Batcher(batch_tokens)
        self.readers: list[tuple[Reader, list[int]]] = []
        for at in _by_tokenizer(members):
            networks = [members[i].network for i in at]
            tokenizer = members[at[0]].tokenizer
            limits = [token_limit(n.config, tokenizer, max_length) for n in networks]
            self.readers.append((Reader(networks, tokenizer, min(limits)), at))

    @property
    def limit(self) -> int:
        """Tokens of a window, as the first member reads them."""
        return self.readers[0][0].limit

    def read(self, texts: Texts, tick: Tick) -> Answers:
        """Return logits (W, M, C) of all members on the windows of each text.

        Windows are cut by the first member's tokenizer; members with another one read
        the same stretches of text.
        """
        first = self.readers[0][0]
        windows = first.windows(texts, self.max_windows)
        shape = (len(windows.ids), len(self.names), len(self.classes))
        values = np.zeros(shape, np.float32)
        failed: set[int] = set()
        for number, (reader, at) in enumerate(self.readers):
            last = number == len(self.readers) - 1
            own = reader.windows(stretches(texts, windows), 1) if number else windows
            counted = tick if last else _ignore
            found, without = reader.read(
                own, owners(windows), self.batcher, _logits, counted
            )
            values[:, at] = found
            failed |= without
        return Answers(windows, values, failed)


def _ignore(_: int) -> None:
    """Count nothing."""


def _logits(network: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    found: torch.Tensor = network(**inputs).logits
    return found


def _by_tokenizer(members: Sequence[Member]) -> list[list[int]]:
    """Group members whose tokenizers are the same."""
    groups: dict[str, list[int]] = {}
    for at, member in enumerate(members):
        text = member.tokenizer.backend_tokenizer.to_str()
        digest = hashlib.sha256(text.encode()).hexdigest()
        groups.setdefault(digest, []).append(at)
    return list(groups.values())


def stretches(texts: Texts, windows: Windows) -> list[tuple[str, str]]:
    """Return the text of every window, each with its context."""
    spans = zip(owners(windows), windows.spans.tolist(), strict=True)
    return [
        (texts[owner][0], texts[owner][1][start:end]) for owner, (start, end) in spans
    ]


def owners(windows: Windows) -> list[int]:
    """Return which text each window is of, (W,)."""
    counts = np.diff(windows.offsets)
    found: list[int] = np.repeat(np.arange(len(counts)), counts).tolist()
    return found
