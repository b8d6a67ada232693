"""Verdicts in texts are read by the grammars that read trees."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from safebench.services import MalformedAnswerError
from safebench.verdict_tree.automaton import compile_grammar
from safebench_llamaguard_marginal.profile.answer import answer_grammar
from safebench_llamaguard_marginal.profile.resolve import load_profile
from safebench_llamaguard_marginal.texts.answers import read_text_answer
from safebench_llamaguard_marginal.texts.evidence import FILTER, LENGTH, STOP
from safebench_llamaguard_marginal.texts.guard import read_answer
from safebench_llamaguard_marginal.texts.reading import TextReader

if TYPE_CHECKING:
    from safebench.verdict_tree import Grammar


def grammar(name: str = "llama-guard-3", role: str = "user", **more: Any) -> Grammar:
    """Return the grammar of a profile's answers."""
    profile = load_profile(name)
    return answer_grammar(profile.answers[role], profile.policy(), **more)


def answer(content: Any, finish: str | None = "stop", **message: Any) -> str:
    """Return an answer of a chat endpoint."""
    choice = {"message": {"content": content, **message}, "finish_reason": finish}
    return json.dumps({"choices": [choice]})


def said(text: str, *, finish: str = "stop", reader: Any = None, **message: Any) -> Any:
    """Return the level's name and the labels that are read in an answer."""
    reader = reader or TextReader(grammar())
    read = read_answer(reader, read_text_answer(answer(text, finish, **message)))
    own = reader.grammar
    level = own.levels[read.level].name if read.level >= 0 else None
    labels = [x for i, x in enumerate(own.all_labels) if read.labels_mask >> i & 1]
    return level, labels


@pytest.mark.parametrize(
    "text",
    [
        *("\n\nsafe", "safe", "unsafe\nS1,S10", "\n\nunsafe\nS14", "unsafe", "safer"),
        *("unsafe\nS15", "unsafe\nS1, S2", "I cannot", "", "unsafe\nS1 and S2"),
    ],
)
def test_a_text_says_what_the_parser_of_trees_says(text: str) -> None:
    """Level, labels and what is off the grammar."""
    expected = compile_grammar(grammar()).parse(text)
    read = TextReader(grammar()).read(text)

    assert (expected.level, sorted(expected.labels)) == (
        said(text)[0],
        sorted(said(text)[1]),
    )
    assert expected.malformed == read.malformed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unsafe\nS1,S10<|eot_id|>", ("unsafe", ["S1", "S10"])),
        ("safe</s>\n", ("safe", [])),
        ("   unsafe\nS2", ("unsafe", ["S2"])),
        ("<think>\nunsafe? S3?\n</think>\n\nsafe", ("safe", [])),
        ("<think>\nsafe or unsafe", (None, [])),
        ("Is it safe? unsafe", (None, [])),
    ],
)
def test_what_servers_put_around_a_verdict_is_no_part_of_it(
    text: str, expected: Any
) -> None:
    """Control tokens, blanks and reasonings are not read; other words are none."""
    assert expected == said(text)


@pytest.mark.parametrize("end", ["<|eot_id|>", "</s>\n", "<end_of_turn></s>", ""])
def test_control_tokens_at_the_end_are_no_text_off_the_grammar(end: str) -> None:
    """Some servers leave them in."""
    read = TextReader(grammar()).read(f"unsafe\nS1{end}")

    assert not read.malformed
    assert TextReader(grammar()).read(f"unsafe\nS1{end} or so").malformed


def test_what_a_cut_leaves_open_is_not_read() -> None:
    """S1 may have become S10, and unsafe may have got labels."""
    assert ("unsafe", ["S2"]) == said("unsafe\nS2,S1", finish="length")
    assert ("unsafe", ["S1", "S2"]) == said("unsafe\nS2,S1")
    assert (None, []) == said("unsa", finish="length")


def test_a_reasoning_is_left_out_as_the_profile_says() -> None:
    """By its marker in the text, or where the server gives it apart."""
    profile = load_profile("granite-guardian-3.3", "greedy")
    assert profile.reasoning
    reader = TextReader(
        grammar("granite-guardian-3.3", "assistant"), profile.reasoning.marker
    )
    marker = profile.reasoning.marker[0]
    text = f"It is unsafe. <score> no </score>?{marker}\n<score> yes </score>"

    inside, apart = (
        said(text, reader=reader),
        said("<score> yes </score>", reader=reader, reasoning_content="no harm?"),
    )

    assert inside == apart
    assert inside[0] is not None
    assert (None, []) == said("<score> yes </score>", reader=reader)


@pytest.mark.slow
def test_all_answers_of_a_verdict_are_read() -> None:
    """Three levels, and a line that answers another task."""
    reader = TextReader(grammar("qwen3guard", "assistant"))

    level, labels = said(
        "Safety: Controversial\nCategories: PII, Violent\nRefusal: Yes", reader=reader
    )

    assert "Controversial" == level
    assert {"PII", "Violent", "Yes"} == {label.strip() for label in labels}


def test_answers_of_several_servers_are_understood() -> None:
    """Contents in parts, refusals, reasons to finish, counts, texts of completions."""
    parts = [{"type": "text", "text": "un"}, {"type": "text", "text": "safe"}]
    assert "unsafe" == read_text_answer(answer(parts)).text
    assert "No." == read_text_answer(answer(None, refusal="No.")).text
    found = [
        read_text_answer(answer("safe", finish)).finish
        for finish in ("eos_token", "max_tokens", "content_filter", None)
    ]
    assert [STOP, LENGTH, FILTER, 0] == found
    completion = {"choices": [{"text": "safe", "finish_reason": "stop"}]}
    counted = read_text_answer(
        json.dumps(completion | {"usage": {"prompt_tokens": 7, "completion_tokens": 2}})
    )
    assert ("safe", 7, 2) == (counted.text, counted.prompt_tokens, counted.tokens)
    assert counted.is_about(range(7))
    assert not counted.is_about(range(6))
    for odd in ("{}", '{"choices": []}', '{"choices": [{}]}', "oops", answer(3)):
        with pytest.raises(MalformedAnswerError):
            read_text_answer(odd)
