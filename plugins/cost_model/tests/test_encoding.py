"""What is left out of long exchanges, and where the scored token stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import OptionError
from safebench.records import Sample, Turn
from safebench.torch_utils.loading import load_tokenizer
from safebench_cost_model.model.encoding import (
    EncodedExchange,
    EncodedPair,
    ExchangeCollator,
    ExchangeEncoder,
    TokenizationError,
)
from safebench_cost_model.model.template import (
    PAIR,
    QA,
    Template,
    prompt_and_response,
    template_from_json,
)

if TYPE_CHECKING:
    from pathlib import Path

WORDS = [
    "dog",
    "cat",
    "tree",
    "house",
    "river",
    "road",
    "stone",
    "cloud",
    "lamp",
    "chair",
]


def words(encoder_tokenizer: Any, ids: tuple[int, ...]) -> list[str]:
    """Return the words of ids."""
    tokens: list[str] = encoder_tokenizer.convert_ids_to_tokens(list(ids))
    return tokens


@pytest.fixture
def llama(tiny_llama: Path) -> Any:
    """Return the decoder's tokenizer."""
    return load_tokenizer(tiny_llama, "llama")


@pytest.fixture
def bert(tiny_bert: Path) -> Any:
    """Return the encoder's tokenizer."""
    return load_tokenizer(tiny_bert, "bert")


def test_a_decoder_reads_one_frame_with_one_eos_at_the_end(llama: Any) -> None:
    """BOS, question, answer, EOS; `response_start` is where the response starts."""
    encoded = ExchangeEncoder(llama, QA, 40).encode("what dog", "the cat")

    expected = [
        "<s>",
        "Question",
        ":",
        "what",
        "dog",
        "Answer",
        ":",
        "the",
        "cat",
        "</s>",
    ]
    assert expected == words(llama, encoded.ids)
    assert 7 == encoded.response_start
    assert 0 == encoded.dropped


def test_the_prompt_loses_its_left_and_the_answer_nothing(llama: Any) -> None:
    """Frame, the prompt's end, the whole answer and EOS are kept."""
    encoded = ExchangeEncoder(llama, QA, 16).encode(
        " ".join(WORDS), "then the dog kills the cat"
    )

    expected = ["<s>", "Question", ":", *WORDS[-4:], "Answer", ":"]
    expected += ["then", "the", "dog", "kills", "the", "cat", "</s>"]
    assert expected == words(llama, encoded.ids)
    assert len(WORDS) - 4 == encoded.dropped


def test_an_answer_too_long_for_all_keeps_its_end(llama: Any, bert: Any) -> None:
    """With the whole prompt gone, the answer's beginning goes."""
    answer = " ".join(WORDS * 3)

    first = words(llama, ExchangeEncoder(llama, QA, 16).encode("what dog", answer).ids)
    second = words(bert, ExchangeEncoder(bert, PAIR, 16).encode("what dog", answer).ids)

    assert [*WORDS[-8:], "</s>"] == first[-9:]
    assert ["<s>", "Question", ":", "Answer", ":"] == first[:5]
    assert [*(WORDS * 3)[-13:], "[SEP]"] == second[-14:]
    assert ["[CLS]", "[SEP]"] == second[:2]
    assert len(first) == len(second) == 16


def test_an_encoder_reads_two_texts_as_segments(bert: Any) -> None:
    """Prompt and response stand in segments of their own."""
    encoded = ExchangeEncoder(bert, PAIR, 40).encode("what dog", "the cat")

    expected = ["[CLS]", "what", "dog", "[SEP]", "the", "cat", "[SEP]"]
    assert expected == words(bert, encoded.ids)
    assert (0, 0, 0, 0, 1, 1, 1) == encoded.token_types
    assert (-1, 0, 0, -1, 1, 1, -1) == encoded.sides


def test_control_tokens_in_a_text_are_text(llama: Any, bert: Any) -> None:
    """Nobody ends their own text by writing EOS or a separator."""
    first = ExchangeEncoder(llama, QA, 40).encode("dog </s> cat", "<s> tree")
    second = ExchangeEncoder(bert, PAIR, 40).encode("dog [SEP] cat", "tree")

    tokens = words(llama, first.ids)
    assert 1 == tokens.count("</s>") == tokens.count("<s>")
    # both separators of the pair, and no more
    assert 2 == sum(i == bert.sep_token_id for i in second.ids)


def test_empty_texts_and_surrogates(llama: Any, bert: Any) -> None:
    """Nothing lines is encoded; half a surrogate pair is an error that says so."""
    for tokenizer, template in ((llama, QA), (bert, PAIR)):
        encoder = ExchangeEncoder(tokenizer, template, 40)
        assert encoder.encode("", "").ids
        with pytest.raises(TokenizationError, match="cannot be tokenised"):
            encoder.encode("dog", "\ud800")


def test_a_length_without_room_is_refused(llama: Any) -> None:
    """The message says how many tokens would work."""
    with pytest.raises(OptionError, match="14 or more would work"):
        ExchangeEncoder(llama, QA, 10)


def test_templates_come_back_and_have_hashes_of_their_own() -> None:
    """Whatever changes the text around changes the hash."""
    others = [PAIR, QA, Template(kind="text", before="Question: ", between="Answer: ")]

    assert QA == template_from_json(QA.as_json())
    assert len(others) == len({template.sha256 for template in others})


def test_the_judged_response_and_what_was_asked() -> None:
    """Earlier turns are named by role; a prompt alone has no response."""
    turns = [Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c")]

    def sample(*turns: Turn, target: int = -1) -> Sample:
        return Sample(id="x", turns=turns, target=target)

    assert ("a", "b") == prompt_and_response(sample(*turns[:2]))
    assert ("a", "b") == prompt_and_response(sample(*turns, target=1))
    assert prompt_and_response(sample(*turns)) is None
    exchange = prompt_and_response(sample(*turns, Turn("assistant", "d")))
    assert ("User: a\n\nAssistant: b\n\nUser: c", "d") == exchange


def test_a_batch_holds_every_response_once() -> None:
    """Padded on the right; `row_index` finds either response of a pair."""
    same = EncodedExchange((7,), (0,))
    first = EncodedPair(EncodedExchange((5, 6), (0, 0)), same, (1, 1, 0, 0))
    second = EncodedPair(same, EncodedExchange((9, 9, 9), (1,) * 3), (0.5, 1, 1, 2))

    batch = ExchangeCollator(pad_token_id=0, with_token_types=True)([first, second])

    assert [[5, 6, 0], [7, 0, 0], [9, 9, 9]] == batch["input_ids"].tolist()
    assert [2, 1, 3] == batch["attention_mask"].sum(dim=1).tolist()
    assert [[0, 1], [1, 2]] == batch["row_index"].tolist()
    assert [[1, 1, 0, 0], [0.5, 1, 1, 2]] == batch["targets"].tolist()
    assert 3 == batch["token_type_ids"].sum()
