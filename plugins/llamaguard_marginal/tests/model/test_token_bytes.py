"""Token bytes must join to what the tokenizer decodes."""

from __future__ import annotations

from typing import Any

import pytest

from safebench_llamaguard_marginal.model.token_bytes import token_bytes


@pytest.mark.parametrize(
    "text", ["unsafe\nS1,S10", "naïve 漢字 🙂", " a\t\n\n\r\n ~¡ÿ\x00"]
)
def test_byte_level_pieces_join_to_the_text(tokenizer: Any, text: str) -> None:
    """The bytes of a text's tokens are its UTF-8."""
    pieces = token_bytes(tokenizer, len(tokenizer))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]

    assert text.encode() == b"".join(pieces[i] for i in ids)


def test_all_bytes_are_pieces_and_special_ones_are_empty(tokenizer: Any) -> None:
    """A byte-level vocabulary has each byte; control tokens and spare ids have none."""
    pieces = token_bytes(tokenizer, len(tokenizer) + 3)

    assert {bytes([i]) for i in range(256)} <= set(pieces)
    assert [b""] * 5 == list(pieces[:5])
    assert (b"", b"", b"") == pieces[-3:]


def test_added_words_that_are_no_control_tokens_keep_their_text(
    make_tokenizer: Any,
) -> None:
    """A word added after training stands for itself, non-ASCII included."""
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["→go"])

    pieces = token_bytes(tokenizer, len(tokenizer))

    assert "→go".encode() == pieces[-1]


def test_sentence_piece_spelling() -> None:
    """▁ is a space, <0x0A> a byte, and other characters are themselves."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = ["<unk>", "<s>", "▁unsafe", "é", "<0x0A>", "<0xE6>"]
    backend = Tokenizer(
        models.BPE({t: i for i, t in enumerate(vocabulary)}, [], byte_fallback=True)
    )
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", unk_token="<unk>"
    )

    actual = token_bytes(tokenizer, 6)

    assert (b"", b"", b" unsafe", "é".encode(), b"\n", b"\xe6") == actual
