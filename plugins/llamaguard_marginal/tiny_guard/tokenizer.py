"""Train the byte-level BPE tokenizer with Llama-3's pieces and special tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from tiny_guard.prompt import BOS, EOT, TOPICS, chat_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PAD = "<|finetune_right_pad_id|>"
SPECIAL = (
    BOS,
    "<|end_of_text|>",
    PAD,
    "<|start_header_id|>",
    "<|end_header_id|>",
    EOT,
)
# Words; groups of one to three digits; punctuation; line ends; other spaces.
PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    r"|[^\r\n\p{L}\p{N}]?\p{L}+"
    r"|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+"
    r"|\s+(?!\S)"
    r"|\s+"
)
# Pieces of the answer that must be one token each.
SINGLE_TOKEN_PIECES = (
    "safe",
    "unsafe",
    "\n",
    "\n\n",
    "S",
    ",S",
    *(str(n) for n in range(1, 15)),
)
# Enough copies of template and answers for their pieces to be merged first.
TEMPLATE_COPIES = 20_000
MAX_TOKENS = 2048


def _template_text() -> Iterator[str]:
    plain = chat_template().replace("{", " ").replace("}", " ")
    codes = ",".join(TOPICS)
    for _ in range(TEMPLATE_COPIES):
        yield f"\n\nunsafe\n{codes}"
        yield "safe"
    for _ in range(TEMPLATE_COPIES // 40):
        yield plain


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer of exactly `vocabulary` tokens that prepends one BOS."""
    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    engine.train_from_iterator(_chain(texts), trainer)
    bos = engine.token_to_id(BOS)
    engine.post_processor = TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bos)]
    )
    return _wrapped(engine)


def _chain(texts: Iterable[str]) -> Iterator[str]:
    yield from texts
    yield from _template_text()


def _wrapped(engine: Tokenizer) -> PreTrainedTokenizerFast:
    make: Any = PreTrainedTokenizerFast
    tokenizer: PreTrainedTokenizerFast = make(
        tokenizer_object=engine,
        bos_token=BOS,
        eos_token=EOT,
        pad_token=PAD,
        padding_side="left",
        model_max_length=MAX_TOKENS,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.chat_template = chat_template()
    check_single_tokens(tokenizer)
    return tokenizer


def check_single_tokens(tokenizer: Any) -> None:
    """Raise ValueError when a piece of the answer is not one token."""
    split = [
        piece
        for piece in SINGLE_TOKEN_PIECES
        if len(tokenizer.encode(piece, add_special_tokens=False)) != 1
    ]
    if split:
        raise ValueError(f"pieces that are not one token: {split}")
