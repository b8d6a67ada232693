"""How a guard is asked and read, wherever this plugin asks one.

Collecting, training and evaluating share this builder of prompts and this reading of
the verdict: the logits of the two words at the place where the verdict begins. A guard
that was trained on one prompt and judged on another, or whose verdict is parsed
in another way than it was taught, can look as if it had collapsed.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from safebench.engine.automaton import compile_grammar
from safebench.engine.vocabulary import Vocabulary
from safebench.errors import ModelError
from safebench_llamaguard_marginal.batching import Batcher
from safebench_llamaguard_marginal.drafting import likeliest_opener
from safebench_llamaguard_marginal.head import FrontierHead
from safebench_llamaguard_marginal.hf_model import HfModel
from safebench_llamaguard_marginal.layouts import shared_prefixes
from safebench_llamaguard_marginal.limits import prompt_limit
from safebench_llamaguard_marginal.loading import load_guard
from safebench_llamaguard_marginal.options import GuardOptions
from safebench_llamaguard_marginal.padding import left_padded
from safebench_llamaguard_marginal.prompts import PromptError
from safebench_llamaguard_marginal.tokens import fit
from safebench_llamaguard_marginal.verdicts import speller, verdict_grammar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from safebench.records import Turn
    from safebench_llamaguard_marginal.loading import Guard

    Array = np.ndarray[Any, np.dtype[Any]]
    Conversation = Sequence[Turn]

ANSWER = 32  # tokens that a prompt leaves free for the verdict
BATCH_TOKENS = {"cpu": 8192}
BATCH_TOKENS_ELSEWHERE = 65536


def load_scorer(
    model: str,
    adapter: str = "",
    device: str = "auto",
    dtype: str = "auto",
    **options: Any,
) -> VerdictScorer:
    """Load a guard ("": the embedded one) with its adapter; see `GuardOptions`."""
    given: dict[str, Any] = {"device": device, "dtype": dtype, **options}
    asked = GuardOptions(model=model, adapter=adapter, **given)
    return VerdictScorer(load_guard(asked))


class VerdictScorer:
    """Reads p(unsafe) as the softmax over the first tokens of unsafe and safe.

    `opener` are the tokens that the guard writes before its verdict (Llama Guard: two
    line feeds), as likely as not none: they are put behind every prompt, so that one
    position is read. `verdict_ids` are the tokens of safe and unsafe at that place,
    `unsafe` all tokens of that word from there on.
    """

    threshold = 0.5

    def __init__(self, guard: Guard, batch_tokens: int = 0) -> None:
        self.guard = guard
        self.network = guard.model.network
        self.opener, safe, self.unsafe = verdict_tokens(guard)
        self.verdict_ids = safe[0], self.unsafe[0]
        self.limit = prompt_limit(
            0,
            ANSWER,
            self.network.config,
            windows=guard.model.layout == "tree",
        )
        usual = BATCH_TOKENS.get(guard.model.device.type, BATCH_TOKENS_ELSEWHERE)
        self.batcher = Batcher(batch_tokens or usual)
        self._kept: HfModel | None = None

    @property
    def label(self) -> str:
        """The guard's name for people."""
        return self.guard.label

    def encode(self, turns: Conversation) -> tuple[int, ...]:
        """Return the prompt about the last turn, up to where the verdict begins.

        What exceeds the model's length is cut from the oldest text on. Raises
        PromptError for turns that cannot be asked about.
        """
        if not turns[-1].text.strip():
            raise PromptError("the judged turn is empty")
        whole = self.guard.encoder.encode(self.guard.layout.render(turns))
        room = self.limit - len(self.opener)
        return fit(whole, room, len(turns) - 1, "left").ids + self.opener

    def logits(
        self,
        conversations: Sequence[Conversation],
        tick: Callable[[int], None] | None = None,
    ) -> Array:
        """Return float32 logits of safe and unsafe, (n, 2); no gradient.

        Raises PromptError for a conversation that cannot be asked about, and ModelError
        for one that does not fit into memory even alone.
        """
        return self.logits_of([self.encode(turns) for turns in conversations], tick)

    def logits_of(
        self,
        prompts: Sequence[tuple[int, ...]],
        tick: Callable[[int], None] | None = None,
    ) -> Array:
        """Return what `logits` does, of prompts that are encoded already."""
        out = np.zeros((len(prompts), 2), dtype=np.float32)
        if not prompts:
            return out
        training, model = self.network.training, self.reader()

        def read(batch: list[int]) -> Array:
            roots = model.open([prompts[i] for i in batch]).roots()
            return np.asarray(roots)[:, list(self.verdict_ids)].astype(np.float32)

        try:
            for batch, found in self.batcher.run([len(p) for p in prompts], read):
                if found is None:
                    longest = max(len(prompts[i]) for i in batch)
                    raise ModelError(f"no memory for a prompt of {longest} tokens")
                out[batch] = found
                if tick:
                    tick(len(batch))
        finally:
            self.network.train(training)
        return out

    def p_unsafe(
        self,
        conversations: Sequence[Conversation],
        tick: Callable[[int], None] | None = None,
    ) -> Array:
        """Return the two-way softmax of `logits`, (n,) float64."""
        return p_unsafe(self.logits(conversations, tick))

    def differentiable(self, prompts: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """Return logits of safe and unsafe (n, 2) that gradients flow through.

        One forward pass of encoded prompts, in the network's current mode.
        """
        tokens, real = left_padded(prompts)
        places = np.maximum(np.cumsum(real, axis=1) - 1, 0)
        wanted = np.zeros(tokens.shape, dtype=bool)
        wanted[:, -1] = True
        head = FrontierHead.install(self.network)
        head.wanted = self._tensor(wanted)
        try:
            out = self.network(
                input_ids=self._tensor(tokens),
                position_ids=self._tensor(places),
                attention_mask=self._tensor(real.astype(np.int64)),
                use_cache=False,
            )
        finally:
            head.wanted = None
        logits: torch.Tensor = out.logits[0][:, list(self.verdict_ids)]
        return logits

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """Read what prompts begin with once for all calls within.

        For as long as weights, adapters and their scale stay as they are.
        """
        self._kept = self.reader()
        try:
            yield
        finally:
            self._kept = None

    def reader(self) -> HfModel:
        """Return the network for inference, what prompts begin with read anew.

        Weights and adapters may have changed since it was read last.
        """
        if self._kept is not None:
            return self._kept
        guard = self.guard
        return HfModel(
            self.network,
            guard.model.pieces,
            guard.model.eos,
            shared_prefixes(guard.layout, guard.encoder),
            guard.model.layout,
        )

    def _tensor(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.network.device)


def p_unsafe(logits: Array) -> Array:
    """Return the share of unsafe in the softmax of logits (n, 2), (n,) float64."""
    wide = np.asarray(logits, dtype=np.float64)
    out: Array = 1 / (1 + np.exp(np.clip(wide[:, 0] - wide[:, 1], -700, 700)))
    return out


def verdict_tokens(guard: Guard) -> tuple[tuple[int, ...], ...]:
    """Return the tokens before a verdict, then those of safe, and those of unsafe.

    What both words begin with is read as part of what comes before. Raises ModelError
    where one word is spelled as the beginning of the other.
    """
    grammar = verdict_grammar(guard, "strict")
    vocabulary = Vocabulary(
        compile_grammar(grammar), guard.model.pieces, guard.model.eos, speller(guard)
    )
    said = likeliest_opener(guard, vocabulary) or ""
    levels = {level.positive: level.words for level in grammar.levels}
    safe, unsafe = (
        tuple(vocabulary.spell(said + levels[harm])) for harm in (False, True)
    )
    pairs = enumerate(zip(safe, unsafe, strict=False))
    shared = next((i for i, (a, b) in pairs if a != b), None)
    if shared is None:
        raise ModelError(f"model {guard.label!r}: one verdict begins with the other")
    return safe[:shared], safe[shared:], unsafe[shared:]
