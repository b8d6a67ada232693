"""A randomly initialised Llama whose output layer makes it speak the grammar.

Nothing is downloaded. A few tokens (those of verdicts, and the last one of a prompt)
get embeddings that point their own way and outweigh what the layers add; the output
layer reads that way off and prefers what may follow. Random directions beside it make
the preference differ from prompt to prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from safebench.policies import load_policy
from safebench.testing.grammars import llama_guard

from .setting import Prompt, Setting

if TYPE_CHECKING:
    from collections.abc import Iterator

# Ids as in the Llama 3 tokenizer; a text that is not here is no part of a verdict.
_IDS = {"\n\n": 271, "safe": 19193, "unsafe": 39257, "\n": 198, "S": 50, ",S": 21861}
_NUMBERS = (16, 17, 18, 19, 20, 21, 22, 23, 24, 605, 806, 717, 1032, 975)
_EOS, _LAST = 128009, 271 + 1  # the last token of every prompt
_FAVOUR = 20.0  # nats by which what may follow outweighs any other token
SHAPES: dict[str, dict[str, Any]] = {
    "8b": {
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "tiny": {
        "vocab_size": 128256,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}


def random_llama(
    count: int,
    prefix_tokens: int,
    *,
    shape: str = "8b",
    device: str = "cuda",
    dtype: torch.dtype = torch.bfloat16,
    spread: float = 1.5,
    seed: int = 0,
) -> Setting:
    """Return `count` random prompts for a random network.

    `spread` (nats) is how much preferences differ between prompts: more makes smaller
    trees. After the prefix a prompt has 60 to 140 tokens, as a guard's prompts have.
    """
    torch.manual_seed(seed)
    network = random_network(shape, torch.device(device), dtype)
    _teach(network, spread)
    policy = load_policy("llama-guard-3")
    prefix = _random(prefix_tokens)
    return Setting(
        name=f"random Llama, {shape}",
        network=network,
        pieces=token_pieces(network.config.vocab_size),
        eos=frozenset({_EOS}),
        pad=_EOS,
        grammar=llama_guard(policy.codes),
        spell=None,
        policy=policy,
        prompts=[_prompt(prefix) for _ in range(count)],
        prefix=prefix,
        batch_tokens=65536,
        plain_batch=64,
        shaped="output layer built so that verdicts follow the grammar",
    )


def random_network(shape: str, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a Llama of one of `SHAPES` with the weights that it starts from."""
    config = LlamaConfig(
        **SHAPES[shape],
        max_position_embeddings=8192,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        tie_word_embeddings=False,
        bos_token_id=128000,
        eos_token_id=_EOS,
    )
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            network: Any = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(usual)
    return network.eval().requires_grad_(requires_grad=False)


def _teach(network: Any, spread: float) -> None:
    """Set the embeddings and output rows of verdict tokens."""
    width = network.config.hidden_size
    steps = dict(_steps())
    known = sorted({*steps, *(t for after in steps.values() for t in after)})
    ways, _ = torch.linalg.qr(torch.randn(width, len(known)))  # one column a token
    table = network.get_input_embeddings().weight.data
    table.normal_(0.0, 1.0)
    for name, weight in network.named_parameters():
        if name.endswith(("down_proj.weight", "o_proj.weight")):
            weight.data.mul_(0.05)  # what layers add stays below what is embedded
    rows = torch.zeros(len(known), width)
    size = width**0.5  # the norm of a normalised state
    for i, token in enumerate(known):
        table[token] = (ways[:, i] * size).to(table)
        for after in steps.get(token, ()):
            rows[known.index(after)] += ways[:, i] * (_FAVOUR / size)
    rows += torch.randn(rows.shape) * (spread / (0.3 * size))
    head = network.get_output_embeddings().weight.data
    head.normal_(0.0, 0.3 / size)
    head[known] = rows.to(head)


def _steps() -> Iterator[tuple[int, list[int]]]:
    """Yield what may follow each token of a verdict."""
    labels = list(_NUMBERS)
    yield _LAST, [_IDS["\n\n"]]
    yield _IDS["\n\n"], [_IDS["safe"], _IDS["unsafe"]]
    yield _IDS["safe"], [_EOS]
    yield _IDS["unsafe"], [_IDS["\n"]]
    yield _IDS["\n"], [_IDS["S"]]
    yield _IDS["S"], labels
    yield _IDS[",S"], labels
    for label in labels:
        yield label, [_EOS, _IDS[",S"]]


def token_pieces(size: int) -> list[bytes]:
    """Return the bytes of every token; those of verdicts have the text of theirs."""
    pieces = [b"#%d" % i for i in range(size)]
    for text, token in _IDS.items():
        pieces[token] = text.encode()
    for number, token in enumerate(_NUMBERS, start=1):
        pieces[token] = b"%d" % number
    pieces[_EOS] = b""
    return pieces


def _random(count: int) -> Prompt:
    return tuple(torch.randint(1000, 128000, (count,)).tolist())


def _prompt(prefix: Prompt) -> Prompt:
    length = int(torch.randint(60, 140, ()))
    return (*prefix, *_random(length - 1), _LAST)
