"""Tiny random guards, built on the fly: a byte-level tokenizer and a small Llama."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import safebench_llamaguard_marginal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench_llamaguard_marginal.prompt.tokenization import PromptEncoder

    # After each token (its text), the probability of those that may follow.
    Table = Mapping[str, Mapping[str, float]]

SPECIAL = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)
PIECES = r"\p{N}{1,3}|[^\r\n\p{L}\p{N}]?\p{L}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
TEMPLATE = """{{- bos_token -}}
<|start_header_id|>user<|end_header_id|>

Is the last {{ "User" if messages|length % 2 else "Agent" }} message unsafe?
S1: Violent Crimes.
S5: Defamation.

{% for m in messages -%}
{{ "User" if m["role"] == "user" else "Agent" }}: {{ m["content"] | trim }}

{% endfor -%}
Answer safe or unsafe.<|eot_id|><|start_header_id|>assistant<|end_header_id|>"""
TEXTS = (
    "safe",
    "\n\nunsafe\nS1,S10",
    "unsafe\nS2,S11,S12,S13,S14",
    "User: how do I kill a process in Python?",
    "Agent: Answer the last message, and say whether it is unsafe.",
    "Violent Crimes. Defamation. the quick brown fox jumps over the lazy dog",
)


def build_tokenizer(texts: Sequence[str] = TEXTS) -> Any:
    """Train a Llama-3-like tokenizer of a few hundred tokens."""
    from tokenizers import Regex, Tokenizer, decoders, models, processors, trainers
    from tokenizers import pre_tokenizers as pre
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre.Sequence(
        [
            pre.Split(Regex(PIECES), behavior="isolated"),
            pre.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([*texts] * 50, trainer)
    bos = SPECIAL[0]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=bos,
        eos_token="<|end_of_text|>",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def build_network(vocabulary: int, seed: int = 0, **changes: Any) -> Any:
    """Build a random Llama whose distributions are neither flat nor peaked."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        **{
            "vocab_size": vocabulary,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "initializer_range": 0.25,
            "eos_token_id": 4,
            "bos_token_id": 0,
        }
        | changes
    )
    return LlamaForCausalLM(config).eval()


START, END = "<|end_header_id|>", "<|eot_id|>"  # a prompt's last token, a verdict's end
IMPOSSIBLE = -60.0  # a logit


def save_bigram_guard(folder: Path, tokenizer: Any, table: Table) -> Path:
    """Save a guard that continues a prompt as the table says; the rest just ends.

    The next token depends on the last one alone: its embedding is one-hot, no layer
    adds to it, and the head holds the logarithms of the wanted probabilities.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    size = len(tokenizer)
    width = size + size % 2  # as heads need it
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=width,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=512,
        eos_token_id=token_id(tokenizer, END),
        bos_token_id=tokenizer.bos_token_id,
        tie_word_embeddings=False,
    )
    network = LlamaForCausalLM(config)
    logits = torch.full((size, size), IMPOSSIBLE)  # (last, next)
    logits[:, token_id(tokenizer, END)] = 0.0
    for last, following in table.items():
        row = logits[token_id(tokenizer, last)]
        row[:] = IMPOSSIBLE
        for text, probability in following.items():
            row[token_id(tokenizer, text)] = math.log(probability)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.zero_()
        network.model.embed_tokens.weight.copy_(torch.eye(size, width))
        network.model.norm.weight.fill_(1.0)
        # The norm makes a one-hot vector as long as the square root of its size.
        network.lm_head.weight.zero_()[:, :size] = logits.T / math.sqrt(width)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def token_id(tokenizer: Any, text: str) -> int:
    """Return the id of the one token that writes a text."""
    known = tokenizer.get_vocab()
    if text in known:
        return int(known[text])
    (only,) = tokenizer(text, add_special_tokens=False)["input_ids"]
    return int(only)


def enumerate_answers(
    folder: Path, *, least: float = 1e-9, budget: int = 12
) -> dict[str, float]:
    """Return the probability of every text that the saved guard writes.

    By plain calls of the network, one for each beginning of a text.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    end = token_id(tokenizer, END)
    prompt = [token_id(tokenizer, START)]
    texts: dict[str, float] = {}
    beginnings: list[tuple[list[int], float]] = [([], 1.0)]
    while beginnings:
        tokens, mass = beginnings.pop()
        with torch.no_grad():
            logits = network(torch.tensor([prompt + tokens])).logits[0, -1]
        p = mass * torch.softmax(logits, dim=-1)
        for token in torch.nonzero(p >= least).flatten().tolist():
            if token == end or len(tokens) + 1 == budget:
                text = tokenizer.decode(tokens)
                texts[text] = texts.get(text, 0.0) + float(p[token])
            else:
                beginnings.append(([*tokens, token], float(p[token])))
    return texts


SMALL: dict[str, Any] = {
    "vocab_size": 30,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.25,
    "max_position_embeddings": 64,
    "pad_token_id": None,
}


@pytest.fixture(scope="session")
def network_of() -> Callable[..., Any]:
    """Return what builds a random float64 network of a kind, of 30 tokens."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    def build(kind: str, **changes: Any) -> Any:
        torch.manual_seed(1)
        config = AutoConfig.for_model(kind, **(SMALL | changes))
        return AutoModelForCausalLM.from_config(config).double().eval()

    return build


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Return a Llama-3-like tokenizer with a guard's chat template."""
    return build_tokenizer()


@pytest.fixture(scope="session")
def guard_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a random guard on disk, its weights in several shards."""
    folder = tmp_path_factory.mktemp("models") / "random-guard"
    tokenizer = build_tokenizer()
    network = build_network(len(tokenizer), tie_word_embeddings=True)
    network.save_pretrained(folder, max_shard_size="40KB")
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[[], Any]:
    """Return what builds a fresh tokenizer, for tests that change it."""
    return build_tokenizer


@pytest.fixture(scope="session")
def make_network() -> Callable[..., Any]:
    """Return what builds a random Llama: vocabulary size, configuration changes."""
    return build_network


@pytest.fixture(scope="session")
def with_template() -> Callable[[Any, str], Any]:
    """Return what copies a tokenizer and gives it another chat template."""

    def copied(tokenizer: Any, template: str) -> Any:
        changed = copy.deepcopy(tokenizer)
        changed.chat_template = template
        return changed

    return copied


@pytest.fixture
def templates_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Render chat templates as where no process can be forked.

    What they write is the same, in a fiftieth of the time: a fork copies the page
    tables of torch.
    """
    from safebench_llamaguard_marginal.prompt import chat_template

    monkeypatch.setattr(chat_template, "_CAN_FORK", False)


@pytest.fixture
def encoder(tokenizer: Any) -> PromptEncoder:
    """Return an encoder for the Llama-3-like tokenizer."""
    from safebench_llamaguard_marginal.prompt.tokenization import PromptEncoder

    return PromptEncoder(tokenizer)


@pytest.fixture(scope="session")
def word_tokenizer() -> Any:
    """Return a tokenizer that has words of many answers as single tokens."""
    words = [
        "Yes",
        "No",
        "Unsafe",
        "Safe",
        "SAFE",
        "UNSAFE",
        "safe",
        "unsafe",
        "sicher",
    ]
    words += ["Sorry", "safety", "maybe", " safe", " unsafe", "S", "\n", "\n\n", " \n"]
    return build_tokenizer([*TEXTS, *words, "unsafe \nS1", "safe-ish", "it is unsafe."])


@pytest.fixture
def bigram_guard(tmp_path: Path, word_tokenizer: Any) -> Callable[[Table], Path]:
    """Return what saves a guard that writes what a table says."""
    return lambda table: save_bigram_guard(tmp_path / "guard", word_tokenizer, table)


@pytest.fixture(scope="session")
def answers_of() -> Callable[[Path], dict[str, float]]:
    """Return what enumerates the texts that a saved guard writes."""
    return enumerate_answers


@pytest.fixture
def tiny_guard() -> Path:
    """Return the folder of the guard that is embedded in the package."""
    return Path(safebench_llamaguard_marginal.__file__).parent / "tiny_guard"
