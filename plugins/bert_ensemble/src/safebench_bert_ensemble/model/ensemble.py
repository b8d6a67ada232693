"""An ensemble's forward pass: texts in, logits of every window and member out."""

from __future__ import annotations

import hashlib
import inspect
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from safebench.torch_utils import Batcher, tokenization_errors

from .encoding import collate, encode_windows, token_limit, window_rows
from .mc_dropout import forward_passes, pass_names, turn_on_dropout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.typing import Array

    from .encoding import Windows

    Texts = Sequence[tuple[str, str]]
    OnProgress = Callable[[int], None]
    Forward = Callable[[Any, dict[str, torch.Tensor]], torch.Tensor]

# Rows shorter than this share of a batch's longest start a new batch: encoders are
# cheap enough for padding to cost more than another forward pass.
MIN_LENGTH_RATIO = 0.8


@dataclass(frozen=True, slots=True)
class Member:
    """A network on its device, and the tokenizer whose ids it reads.

    `segments`: whether it was trained with ids that tell a context from the text.
    """

    name: str
    network: Any
    tokenizer: Any
    segments: bool = True


@dataclass(slots=True)
class EnsembleOutput:
    """Values (W, M, C) of the windows, and the windows for which memory ran out."""

    windows: Windows
    values: Array
    out_of_memory: set[int]


class EncoderRunner:
    """Networks that share a tokenizer, run batch by batch over windows."""

    def __init__(
        self,
        networks: Sequence[Any],
        tokenizer: Any,
        max_length: int,
        *,
        segments: bool = True,
    ) -> None:
        self.networks, self.segments = list(networks), segments
        self.tokenizer, self.max_length = tokenizer, max_length
        # Some encoders take no segment ids, whatever their tokenizer returns.
        accepted = [set(inspect.signature(n.forward).parameters) for n in networks]
        self.input_names = set.intersection(*accepted)

    def tokenize(self, texts: Texts, max_windows: int) -> Windows:
        """Cut texts into windows of these networks' tokens."""
        with tokenization_errors(self.networks[0].config.name_or_path):
            return encode_windows(
                self.tokenizer,
                texts,
                self.max_length,
                max_windows,
                segments=self.segments,
            )

    def run(
        self,
        windows: Windows,
        batcher: Batcher,
        forward: Forward,
        on_progress: OnProgress,
    ) -> tuple[Array, set[int]]:
        """Return what `forward` makes of each window by each network, (W, M, ...).

        `on_progress` counts texts all of whose windows are done. Also returns the
        windows for which memory did not suffice; their values are 0.
        """
        rows = window_rows(windows)
        text_of_window = windows.text_indices
        windows_left = Counter(text_of_window)
        out_of_memory: set[int] = set()
        values: Array | None = None
        pad_token_id = self.tokenizer.pad_token_id
        if pad_token_id is None:
            # Without a padding token there is nothing to fill up shorter rows with.
            batcher, pad_token_id = Batcher(budget=1), 0

        def work(batch: list[int]) -> Array:
            inputs = collate([rows[i] for i in batch], pad_token_id)
            return self._forward(inputs, forward)

        for batch, result in batcher.run(windows.lengths, work):
            if result is None:
                out_of_memory.update(batch)
            else:
                if values is None:
                    values = np.zeros((len(rows), *result.shape[1:]), np.float32)
                values[batch] = result
            texts = [text_of_window[i] for i in batch]
            windows_left.subtract(texts)
            on_progress(sum(not windows_left[text] for text in set(texts)))
        if values is None:  # nothing to read, or no memory for any of it
            values = np.zeros((len(rows), len(self.networks), 2), np.float32)
        return values, out_of_memory

    def _forward(self, inputs: dict[str, torch.Tensor], forward: Forward) -> Array:
        device = next(self.networks[0].parameters()).device
        accepted = {k: v.to(device) for k, v in inputs.items() if k in self.input_names}
        with torch.inference_mode():
            outputs = [forward(network, accepted) for network in self.networks]
            stacked = torch.stack(outputs, dim=1).float()  # (B, M, ...)
        values: Array = stacked.cpu().numpy()
        return values


class Ensemble:
    """M classifiers with the same classes; longer texts are read in windows."""

    def __init__(
        self,
        members: Sequence[Member],
        classes: Sequence[str],
        max_length: int,
        max_windows: int,
        batcher: Batcher,
        mc_dropout: int = 0,
    ) -> None:
        self.mc_dropout = mc_dropout
        self.names = [member.name for member in members]
        if mc_dropout:
            self.names = pass_names(self.names, mc_dropout)
            for member in members:
                turn_on_dropout(member.network, member.name)
        self.classes = list(classes)
        self.max_windows = max_windows
        self.batcher = batcher
        # Members of one tokenizer are run on the same batches.
        self.runners: list[tuple[EncoderRunner, list[int]]] = []
        for indices in _group_by_tokenizer(members):
            networks = [members[i].network for i in indices]
            tokenizer = members[indices[0]].tokenizer
            limits = [token_limit(n.config, tokenizer, max_length) for n in networks]
            segments = members[indices[0]].segments
            runner = EncoderRunner(networks, tokenizer, min(limits), segments=segments)
            self.runners.append((runner, indices))

    @property
    def first_network(self) -> Any:
        """The first member's network, whose kind is that of all."""
        return self.runners[0][0].networks[0]

    @property
    def max_length(self) -> int:
        """Tokens of a window, as the first member reads them."""
        return self.runners[0][0].max_length

    def predict_windows(
        self, windows: Windows, on_progress: OnProgress
    ) -> EnsembleOutput:
        """Return logits (W, M, C) of all members on windows that are made already.

        For ensembles whose members share a tokenizer.
        """
        (runner, _), *others = self.runners
        assert not others, "windows are those of one tokenizer"
        values, failed = self._run(runner, windows, on_progress)
        return EnsembleOutput(windows, values, failed)

    def _run(
        self, runner: EncoderRunner, windows: Windows, on_progress: OnProgress
    ) -> tuple[Array, set[int]]:
        """Return logits (W, M, C), a pass with dropout being a member of its own."""
        if not self.mc_dropout:
            return runner.run(windows, self.batcher, _forward_logits, on_progress)
        forward = partial(forward_passes, passes=self.mc_dropout)
        values, failed = runner.run(windows, self.batcher, forward, on_progress)
        n_classes = len(self.classes)
        return values.reshape(len(values), -1, n_classes), failed

    def predict(self, texts: Texts, on_progress: OnProgress) -> EnsembleOutput:
        """Return logits (W, M, C) of all members on the windows of each text.

        Windows are cut by the first member's tokenizer; members with another one read
        the same stretches of text, so that their logits belong together.
        """
        windows = self.runners[0][0].tokenize(texts, self.max_windows)
        shape = (len(windows.ids), len(self.names), len(self.classes))
        values = np.zeros(shape, np.float32)
        out_of_memory: set[int] = set()
        for number, (runner, indices) in enumerate(self.runners):
            is_last = number == len(self.runners) - 1
            retokenized = windows
            if number:
                retokenized = replace(
                    runner.tokenize(window_texts(texts, windows), 1),
                    offsets=windows.offsets,
                )
            values[:, self._columns(indices)], failed = self._run(
                runner, retokenized, on_progress if is_last else _no_progress
            )
            out_of_memory |= failed
        return EnsembleOutput(windows, values, out_of_memory)

    def _columns(self, indices: list[int]) -> list[int]:
        """Return where the logits of some members stand, with those of all passes."""
        k = max(1, self.mc_dropout)
        return [i * k + n for i in indices for n in range(k)]


def window_texts(texts: Texts, windows: Windows) -> list[tuple[str, str]]:
    """Return the stretch of text of every window, each with its context."""
    spans = zip(windows.text_indices, windows.spans.tolist(), strict=True)
    return [(texts[i][0], texts[i][1][start:end]) for i, (start, end) in spans]


def _group_by_tokenizer(members: Sequence[Member]) -> list[list[int]]:
    """Return indices of members, grouped by equal tokenizers."""
    groups: dict[str, list[int]] = {}
    for i, member in enumerate(members):
        text = member.tokenizer.backend_tokenizer.to_str()
        digest = hashlib.sha256(text.encode()).hexdigest()
        groups.setdefault(digest, []).append(i)
    return list(groups.values())


def _forward_logits(network: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    logits: torch.Tensor = network(**inputs).logits
    return logits


def _no_progress(_: int) -> None:
    """Count nothing: a text is done when the last runner has read it."""
