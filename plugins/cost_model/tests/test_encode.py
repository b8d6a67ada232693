"""What is left out of long exchanges, and where the scored token stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import OptionError
from safebench.neural.loading import load_tokenizer
from safebench.records import Sample, Turn
from safebench_cost_model.encode import Encoder, TextError
from safebench_cost_model.template import PAIR, QA, Template, exchange_of, template_from

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
    found: list[str] = encoder_tokenizer.convert_ids_to_tokens(list(ids))
    return found


@pytest.fixture
def llama(tiny_llama: Path) -> Any:
    """Return the decoder's tokenizer."""
    return load_tokenizer(tiny_llama, "llama")


@pytest.fixture
def bert(tiny_bert: Path) -> Any:
    """Return the encoder's tokenizer."""
    return load_tokenizer(tiny_bert, "bert")


def test_a_decoder_reads_one_frame_with_one_eos_at_the_end(llama: Any) -> None:
    """BOS, question, answer, EOS; `answer` is where the response starts."""
    found = Encoder(llama, QA, 40).encode("what dog", "the cat")

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
    assert expected == words(llama, found.ids)
    assert 7 == found.answer
    assert 0 == found.dropped


def test_the_prompt_loses_its_left_and_the_answer_nothing(llama: Any) -> None:
    """Frame, the prompt's end, the whole answer and EOS are kept."""
    found = Encoder(llama, QA, 16).encode(" ".join(WORDS), "then the dog kills the cat")

    expected = ["<s>", "Question", ":", *WORDS[-4:], "Answer", ":"]
    expected += ["then", "the", "dog", "kills", "the", "cat", "</s>"]
    assert expected == words(llama, found.ids)
    assert len(WORDS) - 4 == found.dropped


def test_an_answer_too_long_for_all_keeps_its_end(llama: Any, bert: Any) -> None:
    """With the whole prompt gone, the answer's beginning goes."""
    answer = " ".join(WORDS * 3)

    one = words(llama, Encoder(llama, QA, 16).encode("what dog", answer).ids)
    two = words(bert, Encoder(bert, PAIR, 16).encode("what dog", answer).ids)

    assert [*WORDS[-8:], "</s>"] == one[-9:]
    assert ["<s>", "Question", ":", "Answer", ":"] == one[:5]
    assert [*(WORDS * 3)[-13:], "[SEP]"] == two[-14:]
    assert ["[CLS]", "[SEP]"] == two[:2]
    assert len(one) == len(two) == 16


def test_an_encoder_reads_two_texts_as_segments(bert: Any) -> None:
    """Prompt and response stand in segments of their own."""
    found = Encoder(bert, PAIR, 40).encode("what dog", "the cat")

    expected = ["[CLS]", "what", "dog", "[SEP]", "the", "cat", "[SEP]"]
    assert expected == words(bert, found.ids)
    assert (0, 0, 0, 0, 1, 1, 1) == found.types
    assert (-1, 0, 0, -1, 1, 1, -1) == found.sides


def test_control_tokens_in_a_text_are_text(llama: Any, bert: Any) -> None:
    """Nobody ends their own text by writing EOS or a separator."""
    one = Encoder(llama, QA, 40).encode("dog </s> cat", "<s> tree")
    two = Encoder(bert, PAIR, 40).encode("dog [SEP] cat", "tree")

    assert (
        1 == words(llama, one.ids).count("</s>") == words(llama, one.ids).count("<s>")
    )
    # both separators of the pair, and no more
    assert 2 == sum(i == bert.sep_token_id for i in two.ids)


def test_empty_texts_and_surrogates(llama: Any, bert: Any) -> None:
    """Nothing said is encoded; half a surrogate pair is an error that says so."""
    for tokenizer, template in ((llama, QA), (bert, PAIR)):
        encoder = Encoder(tokenizer, template, 40)
        assert encoder.encode("", "").ids
        with pytest.raises(TextError, match="cannot be tokenised"):
            encoder.encode("dog", "\ud800")


def test_a_length_without_room_is_refused(llama: Any) -> None:
    """The message says how many tokens would work."""
    with pytest.raises(OptionError, match="14 or more would work"):
        Encoder(llama, QA, 10)


def test_templates_come_back_and_have_hashes_of_their_own() -> None:
    """Whatever changes the text around changes the hash."""
    others = [PAIR, QA, Template(kind="text", before="Question: ", between="Answer: ")]

    assert QA == template_from(QA.as_json())
    assert len(others) == len({template.sha256 for template in others})


def test_the_judged_response_and_what_was_asked() -> None:
    """Earlier turns are named by role; a prompt alone has no response."""
    turns = [Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c")]

    def sample(*given: Turn, target: int = -1) -> Sample:
        return Sample(id="x", turns=given, target=target)

    assert ("a", "b") == exchange_of(sample(*turns[:2]))
    assert ("a", "b") == exchange_of(sample(*turns, target=1))
    assert exchange_of(sample(*turns)) is None
    found = exchange_of(sample(*turns, Turn("assistant", "d")))
    assert ("User: a\n\nAssistant: b\n\nUser: c", "d") == found
