"""Windows cover a text without gaps, within the limit, and overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import transformers

from safebench.records import Sample, Turn
from safebench_bert_ensemble.model.encoding import (
    collate,
    context_and_text,
    encode_windows,
    token_limit,
)

if TYPE_CHECKING:
    from pathlib import Path

CLS, SEP = 2, 3


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> Any:
    """Return the tokenizer of whole words."""
    return transformers.AutoTokenizer.from_pretrained(tiny_base)


def test_windows_hold_all_words_and_overlap_by_a_quarter(tokenizer: Any) -> None:
    """30 words in windows of 8 words: each next one repeats 2 words of the last."""
    text = " ".join(["how", "do", "i", "make", "a"] * 6)
    plain = tokenizer(text, add_special_tokens=False)["input_ids"]

    windows = encode_windows(tokenizer, [("", text)], 10, max_windows=99)

    assert [0, 5] == windows.offsets.tolist()
    assert all(row[0] == CLS and row[-1] == SEP for row in windows.ids)
    assert max(windows.lengths) <= 10
    inner = [row[1:-1] for row in windows.ids]
    assert plain == inner[0] + [i for row in inner[1:] for i in row[2:]]
    assert [0] == windows.dropped.tolist()


def test_spans_are_the_stretches_of_text(tokenizer: Any) -> None:
    """The characters of a span read as the window's own words."""
    text = "How   do I make\nbread please now how do i"
    windows = encode_windows(tokenizer, [("", text)], 6, max_windows=99)

    for row, (start, end) in zip(windows.ids, windows.spans.tolist(), strict=True):
        assert row == tokenizer(text[start:end])["input_ids"]


def test_what_is_beyond_the_last_window_is_counted(tokenizer: Any) -> None:
    """One window of 8 words out of 30: 22 are dropped; a short text drops none."""
    text = " ".join(["how"] * 30)

    windows = encode_windows(tokenizer, [("", text), ("", "how")], 10)

    assert [22, 0] == windows.dropped.tolist()
    assert [10, 3] == windows.lengths


def test_a_response_is_read_with_its_prompt(tokenizer: Any) -> None:
    """The prompt takes at most half of each window, and segments tell the two apart."""
    prompt, response = " ".join(["how"] * 40), " ".join(["bread"] * 12)
    sample = Sample(
        id="r",
        turns=(Turn("user", prompt), Turn("assistant", response)),
    )
    how, bread = tokenizer.convert_tokens_to_ids(["how", "bread"])

    windows = encode_windows(tokenizer, [context_and_text(sample)], 15, max_windows=99)

    assert windows.token_types is not None
    for ids, types in zip(windows.ids, windows.token_types, strict=True):
        assert 6 == ids.count(how)
        assert {1} == {t for i, t in zip(ids, types, strict=True) if i == bread}
    assert len(windows.ids) == 3
    assert [("", "hi")] == [
        context_and_text(Sample(id="p", turns=(Turn("user", "hi"),)))
    ]


def test_texts_keep_their_order_with_and_without_context(tokenizer: Any) -> None:
    """Prompts and responses may be mixed in one call."""
    texts = [("how do", "bread"), ("", "poison"), ("", ""), ("i", "piano")]

    windows = encode_windows(tokenizer, texts, 16)

    assert [0, 1, 2, 3, 4] == windows.offsets.tolist()
    alone = [encode_windows(tokenizer, [text], 16).ids[0] for text in texts]
    assert alone == windows.ids


def test_no_texts_make_no_windows(tokenizer: Any) -> None:
    """An empty batch is no error."""
    windows = encode_windows(tokenizer, [], 16)

    assert ([], [0], 0) == (windows.ids, windows.offsets.tolist(), len(windows.spans))


def test_padding_is_masked() -> None:
    """Rows are padded to the longest with the padding id and mask 0."""
    batch = collate(
        [{"input_ids": [5, 6], "labels": 1}, {"input_ids": [7], "labels": 0}], 9
    )

    assert [[5, 6], [7, 9]] == batch["input_ids"].tolist()
    assert [[1, 1], [1, 0]] == batch["attention_mask"].tolist()
    assert [1, 0] == batch["labels"].tolist()


def test_the_limit_is_the_smallest_of_all(tokenizer: Any) -> None:
    """Wanted length, tokenizer and positions; RoBERTa loses two positions."""
    config = transformers.BertConfig(max_position_embeddings=40)
    roberta = transformers.RobertaConfig(max_position_embeddings=42, pad_token_id=1)

    assert 8 == token_limit(config, tokenizer, 8)
    assert 40 == token_limit(config, tokenizer)
    assert 40 == token_limit(roberta, tokenizer)
    assert 64 == token_limit(transformers.BertConfig(), tokenizer)
