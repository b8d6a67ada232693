"""Guards for tests of profiles: tiny models that answer with chosen probabilities.

`save_guard` builds a random network of a given class, and solves its last layer so
that after given prompts it writes given answers with given probabilities.
`enumerate_answers` finds what a network writes by plain forward passes, and knows
neither profiles nor verdict trees: what it returns is what a profile has to find.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# Words, blanks and marks as the tokenizers of Llama 3 and Qwen split them.
_PIECES = (
    r"\p{N}{1,3}|[^\r\n\p{L}\p{N}]?\p{L}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
)
# Of every class: small, and without what only changes probabilities afterwards.
_SMALL: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "initializer_range": 0.2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "pad_token_id": None,
}
_KINDS: dict[str, dict[str, Any]] = {
    "gemma2": {"final_logit_softcapping": None, "sliding_window": 4096},
    "gemma3_text": {"sliding_window": 4096},
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "granite": {"logits_scaling": 1.0},
    "granitemoe": {"logits_scaling": 1.0, "num_local_experts": 4},
    "mistral": {"sliding_window": None},
}
_ABSENT = -40.0  # the logit of a token that is not written, against log-probabilities


def build_tokenizer(
    texts: Sequence[str],
    *,
    special: Sequence[str],
    eos: str,
    bos: str | None = None,
    template: str | None = None,
    size: int = 600,
) -> Any:
    """Train a byte-level tokenizer that knows the words of `texts` as tokens.

    `special` are its control tokens, `eos` and `bos` among them; a tokenizer with a
    `bos` puts it before all that it is given. `template` is its chat template.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, processors, trainers
    from tokenizers import pre_tokenizers as pre
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre.Sequence(
        [
            pre.Split(Regex(_PIECES), behavior="isolated"),
            pre.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(special),
        initial_alphabet=pre.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([*texts] * 20, trainer)
    if bos is not None:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    build: Any = PreTrainedTokenizerFast
    tokenizer = build(
        tokenizer_object=backend,
        bos_token=bos,
        eos_token=eos,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = template
    return tokenizer


def build_network(kind: str, tokenizer: Any, seed: int = 0, **changes: Any) -> Any:
    """Build a random float64 network of a class, named as in its config (``llama``)."""
    import torch
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    torch.manual_seed(seed)
    settings = {
        **_SMALL,
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        **_KINDS.get(kind, {}),
        **changes,
    }
    config: Any = AutoConfig.for_model(kind, **settings)
    # grouped kernels of mixtures of experts know no float64
    config._experts_implementation = "eager"  # noqa: SLF001 - no other way
    network: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    return network(config).double().eval()


def teach(
    network: Any,
    tokenizer: Any,
    answers: Mapping[str, Mapping[str, float]],
    *,
    end: str | None = None,
) -> None:
    """Solve the last layer so that each prompt is answered as told.

    `answers` maps a whole prompt (its text, control tokens included) to the
    probabilities of its answers, which sum to 1. They are written in the tokenizer's
    own tokens and end with `end` (default: its EOS). After other prompts the network
    writes something, nobody knows what.
    """
    import torch

    last = tokenizer.convert_tokens_to_ids(end) if end else tokenizer.eos_token_id
    rows, targets = [], []
    for prompt, texts in answers.items():
        head = prompt_ids(tokenizer, prompt)
        for prefix, following in _continuations(tokenizer, texts, last).items():
            with torch.no_grad():
                output = network.model(torch.tensor([[*head, *prefix]]))
            rows.append(output.last_hidden_state[0, -1])
            target = torch.full((len(tokenizer),), _ABSENT, dtype=torch.float64)
            for token, p in following.items():
                target[token] = math.log(p)
            targets.append(target)
    hidden, wanted = torch.stack(rows), torch.stack(targets)
    weights = torch.linalg.lstsq(hidden, wanted, driver="gelsd").solution
    error = float((hidden @ weights - wanted).abs().max())
    if error > 1e-6:  # noqa: PLR2004 - as a profile is compared
        raise ValueError(
            f"{len(rows)} beginnings of answers are more than the network can hold "
            f"(error {error:.1g}): a larger hidden_size would work"
        )
    with torch.no_grad():
        network.lm_head.weight.copy_(weights.T)


def save_guard(
    folder: Path,
    tokenizer: Any,
    answers: Mapping[str, Mapping[str, float]],
    *,
    kind: str = "llama",
    end: str | None = None,
    **changes: Any,
) -> Any:
    """Save a guard of a class that answers prompts as told; return its network."""
    network = build_network(kind, tokenizer, **changes)
    teach(network, tokenizer, answers, end=end)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return network


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    """Return the ids of a whole prompt, with one BOS if the tokenizer adds it."""
    ids: list[int] = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    bos = tokenizer.bos_token_id
    adds = bos is not None and bos in tokenizer("a")["input_ids"]
    return [bos, *ids] if adds and ids[:1] != [bos] else ids


def enumerate_answers(
    network: Any,
    tokenizer: Any,
    prompt: str,
    *,
    end: str | None = None,
    least: float = 1e-9,
    budget: int = 200,
) -> dict[str, float]:
    """Return the probability of every text that a network writes after a prompt.

    By plain calls of the network, one for each beginning of at least `least`.
    """
    import torch

    last = tokenizer.convert_tokens_to_ids(end) if end else tokenizer.eos_token_id
    head = prompt_ids(tokenizer, prompt)
    texts: dict[str, float] = {}
    beginnings: list[tuple[list[int], float]] = [([], 1.0)]
    while beginnings:
        tokens, mass = beginnings.pop()
        with torch.no_grad():
            logits = network(torch.tensor([head + tokens])).logits[0, -1]
        p = mass * torch.softmax(logits, dim=-1)
        for token in torch.nonzero(p >= least).flatten().tolist():
            if token == last or len(tokens) + 1 == budget:
                text = tokenizer.decode(tokens)
                texts[text] = texts.get(text, 0.0) + float(p[token])
            else:
                beginnings.append(([*tokens, token], float(p[token])))
    return texts


def _continuations(
    tokenizer: Any, texts: Mapping[str, float], last: int
) -> dict[tuple[int, ...], dict[int, float]]:
    """Return the conditional probability of the next token after each beginning."""
    if not math.isclose(sum(texts.values()), 1.0, abs_tol=1e-9):
        raise ValueError(f"the answers have {sum(texts.values()):g} together, not 1")
    mass: dict[tuple[int, ...], float] = {}
    for text, p in texts.items():
        ids = (*tokenizer(text, add_special_tokens=False)["input_ids"], last)
        for stop in range(len(ids) + 1):
            mass[ids[:stop]] = mass.get(ids[:stop], 0.0) + p
    following: dict[tuple[int, ...], dict[int, float]] = {}
    for prefix, p in mass.items():
        if prefix:
            before = prefix[:-1]
            following.setdefault(before, {})[prefix[-1]] = p / mass[before]
    return following
