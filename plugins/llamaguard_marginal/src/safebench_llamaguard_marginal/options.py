"""The options of `llamaguard`: which model, how it is asked, how deep it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from safebench.errors import OptionError

Attention = Literal[
    "auto",
    "sdpa",
    "eager",
    "flash_attention_2",
    "flash_attention_3",
    "flash_attention_4",
]
Format = Literal[
    "auto", "chat", "instruct", "llama-guard-1", "llama-guard-2", "llama-guard-3"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardOptions:
    """What to load and what to record; 0 and "auto" choose by model and device.

    `model` is a hub id or a folder ("" is the guard inside this plugin), `adapter` a
    PEFT adapter on top of it. `format` says who writes the prompt: the tokenizer's own
    ``chat`` template, one of the Llama Guard layouts, or ``instruct``, which hands the
    policy to a general chat model. `max_length` is in prompt tokens; a longer judged
    turn loses its ``left`` or ``right`` end, or is read in overlapping ``windows``, of
    which the worst counts. `batch_tokens` bounds a batch, padding included. `eps`,
    `max_nodes`, `max_new_tokens` and `grammar` shape the tree.

    `layout` says how trees go through the network: ``tree`` is one row a prompt and a
    mask, ``rows`` one row a node, for kernels that take no mask and for layers with
    windows. `draft` runs the canonical spellings after an opener along with the prompt
    (``off``: not; ``auto``: after the likeliest one, except on a CPU). `refill` lets
    prompts of the same shard into a batch of which fewer than half are unfinished.

    `stop` says when a tree is grown enough: ``eps`` expands what is at least so likely;
    the others expand the likeliest first, `width` a wave, until `max_nodes`, a ``gap``
    of `delta`, or certainty about decisions at `tau`. `mc_samples` verdicts a tree are
    drawn from what was left out. `seed_*` are the parameters of ``compat=seed``.
    """

    model: str = ""
    revision: str = ""
    adapter: str = ""
    dtype: Literal["auto", "float32", "bfloat16", "float16", "float64"] = "auto"
    device: str = "auto"
    attention: Attention = "auto"
    layout: Literal["auto", "tree", "rows"] = "auto"
    policy: str = "llama-guard-3"
    format: Format = "auto"
    max_length: int = 0
    truncation: Literal["left", "right", "windows"] = "left"
    batch_tokens: int = 0
    draft: str = "auto"
    refill: Literal["off", "on"] = "off"
    eps: float = 1e-3
    max_nodes: int = 256
    max_new_tokens: int = 0
    grammar: Literal["strict", "lenient"] = "strict"
    stop: Literal["eps", "max_nodes", "gap", "certify"] = "eps"
    delta: float = 0.01
    tau: float = 0.5
    width: int = 16
    mc_samples: int = 0
    mc_seed: int = 0
    seed_top_p: float = 0.99
    seed_eps: float = 0.01
    seed_max_new_tokens: int = 20

    def __post_init__(self) -> None:
        for name in ("max_length", "batch_tokens", "max_new_tokens", "mc_samples"):
            if getattr(self, name) < 0:
                raise OptionError(f"llamaguard: {name} is a count, 0 or more")
        if self.layout == "tree" and self.attention.startswith("flash"):
            raise OptionError(
                f"llamaguard: attention={self.attention} takes no mask of a tree; "
                "layout=rows would work"
            )
        if not 0 <= self.eps < 1:
            raise OptionError(f"llamaguard: eps={self.eps} is no mass in [0, 1)")
        if not 0 < self.seed_top_p <= 1:
            raise OptionError(f"llamaguard: seed_top_p={self.seed_top_p} is no share")
        if self.width < 1:
            raise OptionError(f"llamaguard: width={self.width} is below 1")
        if self.max_nodes < 1:
            raise OptionError(f"llamaguard: max_nodes={self.max_nodes} is below 1")
