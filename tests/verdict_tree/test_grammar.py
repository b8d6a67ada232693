"""Grammars as data, and whole texts read by them."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from safebench.errors import OptionError
from safebench.testing.grammars import graded, llama_guard, wildguard, yes_no
from safebench.verdict_tree.automaton import ParsedVerdict, compile_grammar
from safebench.verdict_tree.grammar import Grammar, Level, Line

CODES = tuple(f"S{i}" for i in range(1, 15))
WILDGUARD = wildguard()
GRADED = graded(
    [
        Level(name="safe", text="Safety: Safe", tails=("\nCategories: None",)),
        Level(name="controversial", text="Safety: Controversial", takes_labels=True),
        Level(
            name="unsafe",
            text="Safety: Unsafe",
            takes_labels=True,
            positive=True,
            tails=("\nRefusal: Yes", "\nRefusal: No"),
        ),
    ],
    ("Violent", "PII", "Non-violent Illegal Acts"),
    intro="\nCategories: ",
    separators=(", ", ","),
)


def parse(grammar: Grammar, text: str) -> tuple[str | None, tuple[str, ...], bool]:
    """Read a text: level, labels, malformed."""
    verdict = compile_grammar(grammar).parse(text)
    return verdict.level, verdict.labels, verdict.malformed


@pytest.mark.parametrize(
    ("text", "level", "labels", "malformed"),
    [
        ("safe", "safe", (), False),
        ("\n\nsafe", "safe", (), False),
        ("safe\n", "safe", (), True),
        ("unsafe\nS1", "unsafe", ("S1",), False),
        ("\n\nunsafe\nS1,S10, S3", "unsafe", ("S1", "S10", "S3"), False),
        ("unsafe\nS1,S1", "unsafe", ("S1", "S1"), False),
        ("unsafe", "unsafe", (), True),
        ("unsafe\nS1,", "unsafe", ("S1",), True),
        ("unsafe\nS1)", "unsafe", ("S1",), True),
        ("unsafe\nS1,S15,S2", "unsafe", ("S1",), True),
        ("unsafe\nS100", "unsafe", (), True),
        ("unsafe S1", "unsafe", (), True),
        ("hello", None, (), False),
        ("un", None, (), False),
        ("\nsafe", None, (), False),
        ("", None, (), False),
    ],
)
def test_strict_reading(
    text: str, level: str | None, labels: tuple[str, ...], malformed: bool
) -> None:
    """Text off the grammar ends a strict verdict and takes nothing back."""
    assert (level, labels, malformed) == parse(llama_guard(CODES), text)


@pytest.mark.parametrize(
    ("text", "level", "labels"),
    [
        ("It is safe. S1", "safe", ()),
        ("This is unsafe: S1 and S10; S15, S2x", "unsafe", ("S1", "S10", "S2")),
        ("unsaf safe", "safe", ()),
        ("**unsafe** (S4)", "unsafe", ("S4",)),
        ("\u5224\u65ad\uff1aunsafe\u3002S2", "unsafe", ("S2",)),
        ("unsafe: S3S4", "unsafe", ("S3", "S4")),
        ("S1 unsafe S2", "unsafe", ("S2",)),
        ("hello", None, ()),
    ],
)
def test_lenient_reading(text: str, level: str | None, labels: tuple[str, ...]) -> None:
    """Lenient reading skips to the first level word, then counts whole labels."""
    grammar = llama_guard(CODES, mode="lenient")

    assert (level, labels, False) == parse(grammar, text)


@pytest.mark.parametrize(
    "text",
    [
        *("Unsafe", "Unsafe\nS1", "ununsafe S3", "unsafeS4", "unsafely", "fail-safe"),
        *("SAFE", "safe_mode", "\u00e9safe", "safe\u00e9", "vaultsafe9", "safety"),
    ],
)
def test_a_level_inside_a_word_is_not_read(text: str) -> None:
    """Unsafe is no safe with something in front, whatever letters touch the word."""
    assert (None, (), False) == parse(llama_guard(CODES, mode="lenient"), text)


@pytest.mark.parametrize("text", ["unsafe CLASS1", "unsafe: DNS2, x_S3", "unsafe aS10"])
def test_a_label_inside_a_word_is_not_read(text: str) -> None:
    """The end of a word that looks like a label is none."""
    assert ("unsafe", (), False) == parse(llama_guard(CODES, mode="lenient"), text)


@pytest.mark.parametrize(
    ("text", "level", "labels"),
    [
        ("Unsafe\nS1", "unsafe", ("S1",)),
        ("UNSAFE s2, S10", "unsafe", ("S2", "S10")),
        ("It is SaFe.", "safe", ()),
        ("Unsafely", None, ()),
        ("unsafe plus1", "unsafe", ()),
    ],
)
def test_case_is_ignored_on_request(
    text: str, level: str | None, labels: tuple[str, ...]
) -> None:
    """Levels and labels are read in any case, but still as words."""
    grammar = llama_guard(CODES, mode="lenient", ignore_case=True)

    assert (level, labels, False) == parse(grammar, text)


def labels_in(text: str) -> list[str]:
    """Return the numbered S-words of a text, read one character after another."""
    labels, at, border = [], 0, True
    while at < len(text):
        match = re.compile(r"S[12]\d*").match(text, at)
        if match and border:
            labels.append(match[0])
            at = match.end()
        else:
            border = not re.match(r"[\w-]", text[at])
            at += 1
    return labels


@pytest.mark.slow
@pytest.mark.parametrize("ignore_case", [False, True])
def test_lenient_reading_agrees_with_a_regular_expression(ignore_case: bool) -> None:
    """On random texts levels are whole words, and labels whole numbers."""
    rng = np.random.default_rng(0)
    codes = ("S1", "S2", "S10", "S12")
    grammar = llama_guard(codes, mode="lenient", ignore_case=ignore_case)
    parts = ["S", "1", "2", "0", ",", " ", "unsafe", "safe", "un", "-", "\u00e9"]
    parts += ["\u201c", "\n", "unsafe ", "S1", "s2", "Safe", "UN"]
    for _ in range(1500):
        text = "".join(rng.choice(parts, size=9))
        lower = text.lower() if ignore_case else text
        word = re.search(r"(?<![\w-])(unsafe|safe)(?![\w-])", lower)
        rest = (text.upper() if ignore_case else text)[word.end() :] if word else ""
        unsafe = word is not None and word[0] == "unsafe"
        labels = tuple(label for label in labels_in(rest) if label in codes)

        assert (word[0] if word else None, labels if unsafe else ()) == parse(
            grammar, text
        )[:2], text


def test_stored_grammars_are_read_as_they_were() -> None:
    """A grammar that was stored before there were borders has none."""
    stored = llama_guard(CODES, mode="lenient").to_json()
    del stored["whole_words"]
    grammar = Grammar.from_json(stored)
    strict = Grammar.from_json({**stored, "mode": "strict"})

    assert ("safe", (), False) == parse(grammar, "Unsafe")
    assert ("unsafe", ("S4",), False) == parse(grammar, "ununsafeSS4")
    assert ("safe", (), True) == parse(strict, "safety")
    assert (None, (), False) == parse(llama_guard(CODES), "safety")


def test_lenient_reading_falls_back_to_what_else_fits() -> None:
    """A label that begins inside a broken start of another is found."""
    labels = {"labels": ("a ab", "b1"), "mode": "lenient"}
    levels = (Level(name="unsafe", takes_labels=True, positive=True),)
    grammar = Grammar(**{"levels": levels, **labels})

    assert ("unsafe", ("a ab",), False) == parse(grammar, "unsafe a a ab")
    assert ("unsafe", ("b1",), False) == parse(grammar, "unsafe a b1")
    assert ("unsafe", (), False) == parse(grammar, "unsafe xa ab")

    inside = Grammar(**{"levels": levels, **labels, "whole_words": False})
    assert ("unsafe", ("a ab",), False) == parse(inside, "unsafe xa ab")


def test_longest_level_word_wins_in_lenient_reading() -> None:
    """Of level words that start together the longest is read, of others the first."""
    levels = (Level(name="ok"), Level(name="ok then"), Level(name="k"))
    grammar = Grammar(levels=levels, mode="lenient")

    assert "ok then" == parse(grammar, "it is ok then")[0]
    assert "ok" == parse(grammar, "it is ok thence")[0]
    assert "ok" == parse(grammar, "it is ok, the")[0]
    assert "k" == parse(grammar, "k ok")[0]


def test_a_level_that_continues_another_waits() -> None:
    """A strict level is committed where no longer one can follow."""
    levels = (
        Level(name="Safe"),
        Level(name="Safely unsafe", takes_labels=True),
        Level(name="Safely unsafe!"),
    )
    grammar = Grammar(levels=levels, labels=("S1",))

    assert ("Safe", (), False) == parse(grammar, "Safe")
    assert ("Safely unsafe", (), True) == parse(grammar, "Safely unsafe")
    assert ("Safely unsafe", ("S1",), False) == parse(grammar, "Safely unsafe\nS1")
    assert ("Safely unsafe!", (), False) == parse(grammar, "Safely unsafe!")
    assert (None, (), False) == parse(grammar, "Safely")
    assert ("Safe", (), True) == parse(grammar, "Safe ly")


@pytest.mark.parametrize(
    ("text", "level", "labels", "malformed"),
    [
        ("Safety: Safe", "safe", (), False),
        ("Safety: Safe\nCategories: None", "safe", (), False),
        ("Safety: Safe\nCategories: PII", "safe", (), True),
        (
            "Safety: Unsafe\nCategories: Violent, PII",
            "unsafe",
            ("Violent", "PII"),
            False,
        ),
        ("Safety: Unsafe\nCategories: PII\nRefusal: No", "unsafe", ("PII",), False),
        ("Safety: Unsafe\nCategories: Violence", "unsafe", (), True),
        (
            "Safety: Controversial\nCategories: Non-violent Illegal Acts",
            "controversial",
            ("Non-violent Illegal Acts",),
            False,
        ),
    ],
)
def test_graded_levels_with_word_labels(
    text: str, level: str, labels: tuple[str, ...], malformed: bool
) -> None:
    """Levels on one line, labels in words on the next, and optional tails."""
    assert (level, labels, malformed) == parse(GRADED, text)


def test_three_answers_in_one_text() -> None:
    """A composite level is one combination of answers, each positive or not."""
    text = "Harmful request: yes\nResponse refusal: N/A\nHarmful response: no"
    level = parse(WILDGUARD, text)[0]
    names = [level.name for level in WILDGUARD.levels]
    positive = {
        task: WILDGUARD.positive_mask(task)[names.index(str(level))]
        for task in ("prompt_harm", "refusal", "response_harm")
    }

    assert "yes|N/A|no" == level
    assert {"prompt_harm": True, "refusal": False, "response_harm": False} == positive


def test_reading_reports_codes() -> None:
    """Labels are reported as the policy's codes where the guard writes others."""
    grammar = llama_guard(("O1", "O2"))
    data = grammar.to_json() | {"codes": ["violence", "sexual"]}

    assert ParsedVerdict("unsafe", ("sexual",), malformed=False, error=None) == (
        compile_grammar(Grammar.from_json(data)).parse("unsafe\nO2")
    )


@pytest.mark.parametrize("grammar", [llama_guard(CODES), yes_no(), GRADED, WILDGUARD])
def test_grammars_survive_json(grammar: Grammar) -> None:
    """A grammar stored as JSON text is read back equal."""
    assert grammar == Grammar.from_json(json.loads(json.dumps(grammar.to_json())))


SAFE, UNSAFE = Level(name="safe"), Level(name="unsafe", takes_labels=True)
UN = Level(name="un", takes_labels=True)
LABELLED: dict[str, Any] = {"levels": (UNSAFE,)}


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ("'S1' followed by ',' starts label 'S1,a'", {"labels": ("S1", "S1,a")}),
        ("65 labels, more than 64", {"labels": tuple(f"S{i}" for i in range(65))}),
        ("given twice", {"labels": ("S1", "S1")}),
        ("takes labels, but there are none", {"labels": ()}),
        ("1 codes for 2 labels", {"labels": ("S1", "S2"), "codes": ("a",)}),
        ("aliases of 1 labels", {"labels": ("S1", "S2"), "aliases": (("a",),)}),
        (
            "aliases of 1 labels",
            {
                "labels": ("S1",),
                "lines": (Line(intro="\n", labels=("x", "y"), aliases=(("z",),)),),
            },
        ),
        ("'1,' starts with a character", {"labels": ("S1",), "separators": ("1,",)}),
        ("outside ASCII", {"labels": ("S1",), "cont": "é"}),
        ("same name or text", {"levels": (Level(name="a"), Level(name="a"))}),
        ("0 levels", {"levels": ()}),
        ("no openers", {"levels": (Level(name="a"),), "openers": ()}),
        (
            "a longer level or a tail may follow",
            {"levels": (Level(name="a", tails=(" b",)), Level(name="a c"))},
        ),
        ("mode is 'Strict'", {"labels": ("S1",), "mode": "Strict"}),
        (
            "'unsafe' reads as 'safe' and as 'unsafe'",
            {"levels": (SAFE, UNSAFE), "labels": ("S1",), "openers": ("", "un")},
        ),
        (
            "after 'unsafe' a longer level or a tail may follow",
            {"labels": ("S1",), "openers": ("", "unsafe\n")},
        ),
        (
            "after 'un' a longer level or a tail may follow",
            {"levels": (UN, UNSAFE), "labels": ("safe", "x"), "intro": ""},
        ),
        (
            "after 'un' a longer level or a tail may follow",
            {"levels": (UN, UNSAFE), "labels": ("A", "B"), "intro": ""},
        ),
        (
            "after 'un' a label may follow, or the rest of 'unS2'",
            {"levels": (UN, Level(name="unS2")), "labels": ("S1",), "mode": "lenient"},
        ),
    ],
)
def test_ambiguous_grammars_are_refused(message: str, parts: dict[str, Any]) -> None:
    """A grammar that cannot be read in one way says why."""
    with pytest.raises(OptionError, match=re.escape(message)):
        Grammar(**(LABELLED | parts))


def test_positive_levels_can_be_named() -> None:
    """Named levels count as positive, whatever the grammar says."""
    assert (False, True, True) == GRADED.positive_mask(
        "prompt_harm", ("controversial", "unsafe")
    )
    with pytest.raises(OptionError, match="no level 'unsave'"):
        GRADED.positive_mask("prompt_harm", ("unsave",))


def test_a_task_that_no_level_answers_is_refused() -> None:
    """A composite guard says which tasks it answers."""
    with pytest.raises(OptionError, match="does not answer injection\n"):
        WILDGUARD.positive_mask("injection")


LINED = Grammar(
    levels=(
        Level(name="safe", tails=("\nWhy: none", "\nWhy: none given")),
        Level(name="unsafe", takes_labels=True, positive=True, aliases=("bad",)),
    ),
    labels=(" Sex", " Sex (minor)", " War"),
    aliases=(("Sex",), ("Sex (minor)",), ("War", " Weapons")),
    codes=("S1", "S2", "S3"),
    intro="\nWhy:",
    separators=(",",),
    none=(" none",),
    cont="abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    label_tasks=("prompt_harm",),
    lines=(
        Line(
            intro="\nRefusal: ",
            labels=("yes", "no", "N/A"),
            task="refusal",
            positive=("yes",),
            silent=("N/A",),
        ),
        Line(
            intro="\nResponse:",
            labels=(" S1", " S2", " S3"),
            codes=("S1", "S2", "S3"),
            separators=(",",),
            none=(" none",),
            task="response_harm",
        ),
    ),
    variants={"strict": ("unsafe",)},
)


@pytest.mark.parametrize(
    ("text", "level", "labels", "malformed"),
    [
        ("safe", "safe", (), False),
        ("safe\nRefusal: yes", "safe", ("yes",), False),
        ("safe\nWhy: none\nRefusal: no", "safe", ("no",), False),
        ("safe\nWhy: none given", "safe", (), False),
        ("safe\nWhy: none given\nRefusal: N/A", "safe", ("N/A",), False),
        ("safe\nWhy: Sex", "safe", (), True),
        ("unsafe\nWhy: Sex, War", "unsafe", ("S1", "S3"), False),
        ("unsafe\nWhy: Sex (minor),Weapons", "unsafe", ("S2",), True),
        ("unsafe\nWhy: Sex (minor), Weapons", "unsafe", ("S2", "S3"), False),
        ("unsafe\nWhy: Sex (other)", "unsafe", ("S1",), True),
        ("unsafe\nWhy: Sexy", "unsafe", (), True),
        ("bad\nWhy: none\nRefusal: yes", "unsafe", ("yes",), False),
        (
            "unsafe\nWhy: War\nRefusal: yes\nResponse: S1, S3",
            "unsafe",
            ("S3", "yes", " S1", " S3"),
            False,
        ),
        (
            "unsafe\nWhy: War\nResponse: none",
            "unsafe",
            ("S3",),
            False,
        ),
        (
            "unsafe\nWhy: War\nResponse: S2\nRefusal: no",
            "unsafe",
            ("S3", " S2"),
            True,
        ),
        ("badly\nWhy: War", None, (), False),
        ("unsafe\nRefusal: yesterday", "unsafe", (), True),
    ],
)
def test_lines_after_the_labels(
    text: str, level: str | None, labels: tuple[str, ...], malformed: bool
) -> None:
    """A line is read behind its intro, in order; a longer label waits for its end."""
    assert (level, labels, malformed) == parse(LINED, text)


def test_what_lines_answer() -> None:
    """A task of a line is answered by no level; categories are those of their task."""
    assert (False, False) == LINED.positive_mask("refusal")
    assert (False, True) == LINED.positive_mask("prompt_harm", ("strict",))
    assert (3,) == LINED.answers("refusal")
    assert (4,) == LINED.answers("refusal", ("no",))
    assert (3, 4) == LINED.line_answers("refusal")
    assert () == LINED.answers("prompt_harm")
    assert {"S1": 0, "S2": 1, "S3": 2} == LINED.categories("prompt_harm")
    assert {"S1": 6, "S2": 7, "S3": 8} == LINED.categories("response_harm")
    assert {} == LINED.categories("jailbreak")
    with pytest.raises(OptionError, match="refusal is not answered by 'maybe'"):
        LINED.answers("refusal", ("maybe",))
    assert LINED == Grammar.from_json(LINED.to_json())


@pytest.mark.parametrize(
    "text",
    [
        '{"verdict": "unsafe", "why": "S1,S2"}',
        '{"verdict":"UNSAFE","why":"s1, S2"}',
        '{ "verdict" : "unsafe" ,\n "why" : " S1 , S2 " }',
    ],
)
def test_blanks_and_case_may_not_matter(text: str) -> None:
    """JSON is read in any spacing, and words in any case, if the grammar says so."""
    grammar = Grammar(
        levels=(
            Level(
                name="unsafe",
                text='{"verdict": "unsafe"',
                takes_labels=True,
                tails=('"}',),
            ),
        ),
        labels=CODES,
        intro=', "why": "',
        ignore_case=True,
        ignore_blanks=True,
    )

    assert ("unsafe", ("S1", "S2"), False) == parse(grammar, text)
