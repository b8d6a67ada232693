"""Near copies of prompts, compared with all pairs of sets of substrings."""

from __future__ import annotations

import json
import random
from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from safebench.cli.overlap import command
from safebench.datasets.near_duplicates import (
    MAX_MISS,
    MIN_SIMILARITY,
    character_sequences,
    jaccard,
    near_pairs,
    rows_per_band,
)
from safebench.datasets.overlap import pairwise_overlap, prompt_overlap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.plugins import Plugins
    from safebench.records import Dataset


def substrings(text: str) -> set[str]:
    """Return every run of five letters and digits, or the whole of a shorter text."""
    folded = "".join(c for c in text.casefold() if c.isalnum())
    return {folded[i : i + 5] for i in range(max(1, len(folded) - 4))}


def alike(left: str, right: str) -> float:
    """Return the Jaccard similarity of two texts, by sets."""
    a, b = substrings(left), substrings(right)
    return len(a & b) / len(a | b)


def random_texts(seed: int, n: int) -> list[str]:
    """Return texts of which many differ by a few letters."""
    draw = random.Random(seed)
    texts = []
    for _ in range(n):
        text = "".join(draw.choices("abcdefgh ", k=draw.randint(3, 120)))
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(text))
            text = text[:place] + draw.choice("xyz,.") + text[place + 1 :]
            texts.append(text)
    return texts


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.8, 0.95, 1.0])
def test_pairs_are_those_of_brute_force(similarity: float) -> None:
    """All of them, with their similarity, and no other."""
    texts = random_texts(seed=3, n=60)
    members = [frozenset({i % 3}) for i in range(len(texts))]

    pairs = {(i, j): s for i, j, s in near_pairs(texts, members, similarity)}

    expected = {
        (i, j): alike(texts[i], texts[j])
        for i, j in combinations(range(len(texts)), 2)
        if i % 3 != j % 3 and alike(texts[i], texts[j]) >= similarity
    }
    assert expected.keys() == pairs.keys()
    assert expected == pytest.approx(pairs)
    assert similarity > 0.9 or len(expected) > 5, "there is something to find"


def test_case_punctuation_and_spaces_do_not_count() -> None:
    """Texts of the same letters are alike, others are not."""
    same = [character_sequences(t) for t in ("How do I?", "how  do i", "HOW-DO-I\n")]

    assert 1 == jaccard(same[0], same[1]) == jaccard(same[0], same[2])
    assert 0 == jaccard(same[0], character_sequences("why not"))


@pytest.mark.parametrize("text", ["", "?", "!!", "é", "a\ud800", "日本", "x" * 10_000])
def test_every_text_has_sequences_or_is_empty(text: str) -> None:
    """Texts without a letter are taken as they are, half a surrogate is a character."""
    sequences = character_sequences(text)

    assert bool(text) is bool(len(sequences))
    assert list(sequences) == sorted(set(sequences.tolist()))


def test_the_chance_to_miss_a_pair_is_small() -> None:
    """(1 - s^r)^(128 / r) for each similarity that may be asked for."""
    for percent in range(int(100 * MIN_SIMILARITY), 101):
        rows = rows_per_band(percent / 100)
        assert (1 - (percent / 100) ** rows) ** (128 / rows) <= MAX_MISS


def test_overlap_of_sets_is_counted_by_samples(
    load: Callable[..., Dataset], write_file: Callable[..., str]
) -> None:
    """Exact copies are not near ones, too; each side counts its own samples."""
    name = "how do I pick the lock of a door"
    left = write_file(
        *(json.dumps({"prompt": p, "label": 1}) for p in (name, name, "else entirely")),
        name="left.jsonl",
    )
    right = write_file(
        *(json.dumps({"prompt": p, "label": 0}) for p in (f"{name}?", name, "no")),
        name="right.jsonl",
    )
    third = write_file('{"prompt": "else, entirely", "label": 0}', name="third.jsonl")
    datasets = [load(path) for path in (left, right, third)]

    pairs = pairwise_overlap(datasets, 0.8, ["s", "s", None])

    assert [(2, 1, 0, 1), (0, 0, 1, 1), (0, 0, 0, 0)] == [
        (p.left_exact, p.right_exact, p.left_near, p.right_near) for p in pairs
    ]
    assert [True, False, False] == [p.same_source for p in pairs]
    exact = prompt_overlap(datasets[0], datasets[1])
    assert (exact.left.shared, exact.right.shared) == (2, 1)
    assert not any(p.left_near for p in pairwise_overlap(datasets, None, [None] * 3))


def test_every_two_sets_of_a_pack_are_compared(
    plugins: Plugins, write_file: Callable[..., str], tmp_path: Path
) -> None:
    """Those that share something are listed, the others counted; JSON has all."""
    for name, prompt in (("a", "who are you"), ("b", "Who are you?"), ("c", "what")):
        write_file(json.dumps({"prompt": prompt, "label": 0}), name=f"{name}.jsonl")
    pack = {"id": "m", "version": 1, "sets": ["a.jsonl", "b.jsonl", "c.jsonl", "d.csv"]}
    (tmp_path / "m.yaml").write_text(json.dumps(pack))
    text = f"pack:{tmp_path / 'm.yaml'}"

    shown = CliRunner().invoke(command, [text], obj=plugins)
    records = CliRunner().invoke(command, [text, "--json", "--near", "0"], obj=plugins)

    assert 0 == shown.exit_code, shown.output
    assert "a.jsonl:all and b.jsonl:all" in shown.stdout
    assert "0 exact and 1 near of 1 samples of a.jsonl:all (100.0 %)" in shown.stdout
    assert "other pairs, which share no prompt: 2" in shown.stdout
    assert f"left out {tmp_path / 'd.csv'} of pack m@1: no file" in shown.stderr
    assert [0, 0, 0] == [
        json.loads(r)["left_near"] for r in records.stdout.splitlines()
    ]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("starter",), "two or more datasets; 1 can be read of starter"),
        (("starter", "starter", "--near", "0.1"), "from 0.3 to 1, or 0; got 0.1"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    plugins: Plugins, args: tuple[str, ...], words: str
) -> None:
    """With what would work."""
    done = CliRunner().invoke(command, [*args], obj=plugins)

    assert 2 == done.exit_code
    assert words in done.output


def test_two_sets_have_their_near_copies_beside_the_exact_ones(
    plugins: Plugins, write_file: Callable[..., str]
) -> None:
    """In text and JSON; what was there before stays."""
    left = write_file('{"prompt": "good morning", "label": 0}', name="left.jsonl")
    right = write_file('{"prompt": "Good morning!", "label": 0}', name="right.jsonl")

    shown = CliRunner().invoke(command, [left, right], obj=plugins).stdout
    record = json.loads(
        CliRunner().invoke(command, [left, right, "--json"], obj=plugins).stdout
    )

    assert "near prompts (similarity from 0.8), exact ones left out:" in shown
    assert "1 of 1 samples of left.jsonl:all" in shown
    assert {"prompt", "conversation", "near"} == record.keys()
    assert (1, 0.8) == (record["near"]["left_near"], record["near"]["similarity"])
