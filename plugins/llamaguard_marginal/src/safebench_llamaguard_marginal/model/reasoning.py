"""Reasonings that a guard writes before its verdict: greedy, or sampled.

Token by token, up to a marker. What follows is read as a tree by others.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from transformers import DynamicCache

from safebench.errors import OptionError
from safebench.torch_utils import pad

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from safebench.typing import Array

    from .forward_pass import CachedNetwork

    End = Literal["marker", "inside", "eos", "budget"]

_CONTROL_BASE = 256  # units below are bytes, those from here on control tokens
_KEEP_ROWS_ABOVE = 0.5  # share of unfinished rows below which a batch is cut down
_CONTROL_NAME = re.compile(r"<\|[^|<>]+\|>")


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The tokens of one reasoning, its marker included, and how it ended.

    `end`: at the ``marker``; ``inside`` a token that holds the marker and the beginning
    of the verdict; with the answer (``eos``), or at the ``budget``. `forward_passes` is
    its share of the batch's.
    """

    tokens: tuple[int, ...]
    end: End
    forward_passes: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether a verdict can be read after it."""
        return self.end == "marker"


class MarkerFinder:
    """Finds where a reasoning ends, in the bytes and control tokens of a text.

    So it does not matter how a text is cut into tokens: one that goes on behind the
    marker with blanks alone is its end, too.
    """

    def __init__(
        self, markers: Iterable[Sequence[int]], token_bytes: Sequence[bytes]
    ) -> None:
        self._markers = [tuple(marker) for marker in markers]
        self._longest = max(map(len, self._markers))
        self._token_bytes = token_bytes

    def units(self, token: int) -> tuple[int, ...]:
        """Return the bytes of a token, or the one unit of a control token."""
        return _units(token, self._token_bytes)

    def search(self, before: Sequence[int], token: int) -> End | None:
        """Tell whether a marker ends in `token`, after the units `before`."""
        tail = before[-self._longest :]
        text = (*tail, *self.units(token))
        for stop in range(len(tail) + 1, len(text) + 1):
            for marker in self._markers:
                if text[max(0, stop - len(marker)) : stop] == marker:
                    return "inside" if _written(text[stop:]) else "marker"
        return None


def _units(token: int, token_bytes: Sequence[bytes]) -> tuple[int, ...]:
    text = token_bytes[token]
    return tuple(text) if text else (_CONTROL_BASE + token,)


def _written(units: Sequence[int]) -> bool:
    return any(unit >= _CONTROL_BASE or not chr(unit).isspace() for unit in units)


def marker_units(
    text: str, control_tokens: Mapping[str, int], token_bytes: Sequence[bytes]
) -> tuple[int, ...]:
    """Return a marker's text as bytes and control tokens.

    Raises OptionError for the name of a control token that the tokenizer does not have.
    """
    special = {
        name: index for name, index in control_tokens.items() if not token_bytes[index]
    }
    for name in _CONTROL_NAME.findall(text):
        if name not in control_tokens:
            raise OptionError(
                f"verdict_after: marker: this tokenizer has no token {name}, so that "
                f"{text!r} would never be written"
            )
    names = sorted(map(re.escape, special), key=len, reverse=True)
    units: list[int] = []
    for piece in re.split(f"({'|'.join(names) or '(?!)'})", text):
        index = special.get(piece)
        units += piece.encode() if index is None else [_CONTROL_BASE + index]
    return tuple(units)


def id_units(tokens: Sequence[int], token_bytes: Sequence[bytes]) -> tuple[int, ...]:
    """Return a marker's token ids as bytes and control tokens.

    Raises OptionError for an id that the model does not have.
    """
    for token in tokens:
        if not 0 <= token < len(token_bytes):
            raise OptionError(
                f"verdict_after: marker_ids: this model has no token {token}; it has "
                f"{len(token_bytes)}"
            )
    return tuple(unit for token in tokens for unit in _units(token, token_bytes))


class TokenChoice(Protocol):
    """Chooses the next token of every row."""

    def pick(self, rows: Sequence[int], logits: torch.Tensor) -> list[int]:
        """Return a token for each of `rows` from logits (rows, V)."""


class GreedyChoice:
    """The likeliest token; of equals the first."""

    def pick(self, rows: Sequence[int], logits: torch.Tensor) -> list[int]:
        """Return the tokens."""
        assert len(rows) == len(logits)
        tokens: list[int] = logits.argmax(dim=-1).tolist()
        return tokens


class SampledChoice:
    """Tokens sampled from the whole distribution at a temperature.

    Each row draws from a stream of its own, by the seed, its number among the
    reasonings about a prompt and the prompt's tokens: what else is in the batch, and in
    which order, changes nothing.
    """

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        count: int,
        seed: int,
        temperature: float,
    ) -> None:
        self._temperature = temperature
        self._streams = [
            _stream(seed, number, prompt)
            for prompt in prompts
            for number in range(count)
        ]

    def pick(self, rows: Sequence[int], logits: torch.Tensor) -> list[int]:
        """Return the tokens whose share of the distribution the draw falls into."""
        p = torch.softmax(logits.double() / self._temperature, dim=-1)
        cumulative = p.cumsum(dim=-1)
        draws = [self._streams[row].random() for row in rows]
        # below the total, which rounding may leave a little off 1
        places = torch.tensor(draws, dtype=torch.float64, device=p.device)
        places = places[:, None] * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, places, right=True)[:, 0]
        return tokens.clamp_(max=p.shape[1] - 1).tolist()


def _stream(seed: int, number: int, prompt: Sequence[int]) -> np.random.Generator:
    text = repr((seed, number, tuple(prompt))).encode()
    key = int.from_bytes(hashlib.sha256(text).digest()[:16], "big")
    return np.random.Generator(np.random.Philox(key=key))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningWriter:
    """Writes `count` reasonings about each prompt, of at most `budget` tokens.

    Greedy ones, or with a `temperature` sampled ones.
    """

    network: CachedNetwork
    finder: MarkerFinder
    eos: Collection[int]
    budget: int
    count: int = 1
    temperature: float | None = None
    seed: int = 0

    def write(self, prompts: Sequence[Sequence[int]]) -> list[list[Reasoning]]:
        """Return the reasonings of each prompt, in the order of their numbers."""
        choice: TokenChoice = GreedyChoice()
        if self.temperature is not None:
            choice = SampledChoice(prompts, self.count, self.seed, self.temperature)
        before = self.network.forward_calls
        decoder = _Decoder(self, choice, [tuple(prompt) for prompt in prompts])
        reasonings = decoder.run()
        share = (self.network.forward_calls - before) / len(reasonings)
        return [
            [
                Reasoning(r.tokens, r.end, share)
                for r in reasonings[start : start + self.count]
            ]
            for start in range(0, len(reasonings), self.count)
        ]


class _Decoder:
    """One batch of rows, `count` for each prompt, padded on the left."""

    def __init__(
        self,
        writer: ReasoningWriter,
        choice: TokenChoice,
        prompts: list[tuple[int, ...]],
    ) -> None:
        self._writer, self._choice = writer, choice
        self._prompts = prompts
        size = len(prompts) * writer.count
        self._tokens: list[list[int]] = [[] for _ in range(size)]
        self._units: list[list[int]] = [[] for _ in range(size)]
        self._ends: dict[int, End] = {}

    def run(self) -> list[Reasoning]:
        """Return the reasonings, row by row."""
        network, count = self._writer.network, self._writer.count
        tokens, real = pad(self._prompts, "left")
        lengths = real.sum(axis=1)
        positions = np.maximum(
            np.arange(tokens.shape[1]) - (~real).sum(axis=1)[:, None], 0
        )
        cache = DynamicCache()
        last = np.zeros(tokens.shape, dtype=bool)
        last[:, -1] = True
        logits = network.forward(tokens, positions, real, cache, last)
        rows = np.arange(len(self._tokens))
        if count > 1:  # the prompt is read once
            with torch.inference_mode():
                cache.batch_repeat_interleave(count)
        logits = _repeated(logits, count)
        real, lengths = real.repeat(count, axis=0), lengths.repeat(count)
        step = 0
        while True:
            alive = self._append(rows, logits)
            step += 1
            if not alive.any() or step == self._writer.budget:
                break
            if alive.mean() <= _KEEP_ROWS_ABOVE:
                kept = np.flatnonzero(alive)
                with torch.inference_mode():
                    cache.batch_select_indices(
                        torch.from_numpy(kept).to(network.device)
                    )
                rows, real, lengths = rows[kept], real[kept], lengths[kept]
            real = np.pad(real, ((0, 0), (0, 1)), constant_values=True)
            logits = network.forward(
                np.array([[self._tokens[row][-1]] for row in rows]),
                (lengths + step - 1)[:, None],
                real,
                cache,
                np.ones((len(rows), 1), dtype=bool),
            )
        return [
            Reasoning(tuple(tokens), self._ends.get(row, "budget"))
            for row, tokens in enumerate(self._tokens)
        ]

    def _append(self, rows: Array, logits: Any) -> Array:
        """Append a token to every unfinished row; return which still are."""
        unfinished = [i for i, row in enumerate(rows.tolist()) if row not in self._ends]
        numbers = [int(rows[i]) for i in unfinished]
        chosen = self._choice.pick(numbers, torch.as_tensor(logits)[unfinished])
        for row, token in zip(numbers, chosen, strict=True):
            self._tokens[row].append(token)
            end = self._end(row, token)
            if end is not None:
                self._ends[row] = end
        return np.array([row not in self._ends for row in rows.tolist()])

    def _end(self, row: int, token: int) -> End | None:
        finder = self._writer.finder
        if end := finder.search(self._units[row], token):
            return end
        self._units[row] += finder.units(token)
        return "eos" if token in self._writer.eos else None


def _repeated(logits: Any, count: int) -> Any:
    return torch.as_tensor(logits).repeat_interleave(count, dim=0)
