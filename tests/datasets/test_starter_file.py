"""The starter set keeps what its card promises, read as plain JSON lines."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
import os
import re
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from statistics import mean
from typing import IO, TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = (
    Path(__file__).parents[2]
    / "harness"
    / "safebench"
    / "datasets"
    / "data"
    / "starter.jsonl"
)
KEYS = ["id", "prompt", "label", "categories", "group", "language", "kind"]
KINDS = {"request", "contrast", "lookalike", "everyday", "roleplay"}
CODES = [f"S{n}" for n in range(1, 15)]

Record = dict[str, Any]


@cache
def records() -> tuple[Record, ...]:
    """Every line of the file, parsed."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return tuple(json.loads(line) for line in lines)


def labelled(label: str) -> list[Record]:
    """Return the records with this label."""
    return [record for record in records() if record["label"] == label]


def folded(text: str) -> str:
    """Lower-case and fold runs of whitespace into one space."""
    return " ".join(text.lower().split())


def words(record: Record) -> list[str]:
    """Split a prompt at whitespace."""
    return str(record["prompt"]).split()


def test_every_line_has_the_same_keys_in_the_same_order() -> None:
    """Each record carries exactly the seven keys, in the documented order."""
    assert {tuple(KEYS)} == {tuple(record) for record in records()}


def test_ids_count_up_in_file_order() -> None:
    """Ids run from st-0001 without a gap."""
    expected = [f"st-{n:04d}" for n in range(1, len(records()) + 1)]
    assert expected == [record["id"] for record in records()]


def test_values_come_from_the_documented_sets() -> None:
    """Kinds, languages, groups and prompts are well formed."""
    assert KINDS == {record["kind"] for record in records()}
    for record in records():
        assert re.fullmatch(r"[a-z]{2}", record["language"]), record["id"]
        assert re.fullmatch(r"g-\d{3}", record["group"]), record["id"]
        assert record["prompt"] == " ".join(words(record)), record["id"]
        assert record["prompt"], record["id"]


def test_half_is_unsafe() -> None:
    """At least 480 prompts, exactly half of them unsafe."""
    assert len(records()) >= 480
    assert len(records()) == 2 * len(labelled("unsafe")) == 2 * len(labelled("safe"))


def test_categories_follow_the_label() -> None:
    """Unsafe prompts name known codes in order, safe prompts name none."""
    assert all(record["categories"] == [] for record in labelled("safe"))
    for record in labelled("unsafe"):
        named = record["categories"]
        assert named, record["id"]
        assert named == [code for code in CODES if code in named], record["id"]


def test_every_category_is_covered() -> None:
    """Each of the fourteen codes is on at least 15 prompts."""
    counts = Counter(code for r in labelled("unsafe") for code in r["categories"])
    assert CODES == sorted(counts, key=CODES.index)
    assert min(counts.values()) >= 15


def test_many_prompts_have_several_categories() -> None:
    """At least 90 unsafe prompts have two or more categories, and many have one."""
    several = sum(len(record["categories"]) > 1 for record in labelled("unsafe"))
    assert several >= 90
    assert len(labelled("unsafe")) - several >= 90


def test_kinds_agree_with_labels() -> None:
    """Requests are unsafe; lookalikes (at least 100) and everyday prompts are safe."""
    labels = defaultdict(set)
    for record in records():
        labels[record["kind"]].add(record["label"])
    both = {"safe", "unsafe"}
    assert {"unsafe"} == labels["request"]
    assert {"safe"} == labels["lookalike"] == labels["everyday"]
    assert both == labels["contrast"] == labels["roleplay"]
    assert sum(record["kind"] == "lookalike" for record in records()) >= 100


def test_contrast_pairs_share_a_group_and_nothing_else_does() -> None:
    """At least 60 groups hold an unsafe and a safe contrast; others hold one prompt."""
    groups = defaultdict(list)
    for record in records():
        groups[record["group"]].append(record)
    pairs = [members for members in groups.values() if len(members) > 1]
    assert len(pairs) >= 60
    for pair in pairs:
        assert ["safe", "unsafe"] == sorted(record["label"] for record in pair)
        assert {"contrast"} == {record["kind"] for record in pair}
        assert 1 == len({record["language"] for record in pair})
    in_pairs = sum(len(pair) for pair in pairs)
    assert in_pairs == sum(record["kind"] == "contrast" for record in records())


def test_contrast_pairs_share_words() -> None:
    """A contrast keeps at least a fifth of the joint vocabulary of its pair."""
    groups = defaultdict(list)
    for record in records():
        if record["kind"] == "contrast":
            groups[record["group"]].append(
                set(re.findall(r"\w+", folded(record["prompt"])))
            )
    for group, (first, second) in groups.items():
        assert len(first & second) >= 0.2 * len(first | second), group


def test_several_languages_carry_both_labels() -> None:
    """At least 60 prompts in at least six other languages, each with both labels."""
    labels = defaultdict(list)
    for record in records():
        labels[record["language"]].append(record["label"])
    labels.pop("en")
    assert len(labels) >= 6
    assert sum(map(len, labels.values())) >= 60
    for language, values in labels.items():
        assert values.count("safe") == values.count("unsafe"), language


@pytest.mark.parametrize("label", ["safe", "unsafe"])
def test_short_and_long_prompts_have_both_labels(label: str) -> None:
    """Each label has at least 10 prompts of 3-6 words and 15 of 80-150 words."""
    lengths = [len(words(record)) for record in labelled(label)]
    assert sum(3 <= length <= 6 for length in lengths) >= 10
    assert sum(80 <= length <= 150 for length in lengths) >= 15
    assert max(lengths) <= 150


def test_length_does_not_give_the_label_away() -> None:
    """Mean word counts of the two labels differ by less than a fifth."""
    safe, unsafe = (
        mean(len(words(record)) for record in labelled(label))
        for label in ("safe", "unsafe")
    )
    assert abs(safe - unsafe) <= 0.2 * min(safe, unsafe)


def test_prompts_are_distinct() -> None:
    """Prompts stay distinct after lower-casing, folding and dropping punctuation."""
    keys = [" ".join(re.findall(r"\w+", folded(r["prompt"]))) for r in records()]
    assert [] == [key for key, times in Counter(keys).items() if times > 1]


def phrases(text: str, longest: int = 3) -> set[str]:
    """Word n-grams of a text, from one word to `longest` words."""
    tokens = re.findall(r"\w+", text.lower())
    return {
        " ".join(tokens[start : start + size])
        for size in range(1, longest + 1)
        for start in range(len(tokens) - size + 1)
    }


def test_no_frequent_phrase_belongs_to_one_label() -> None:
    """A word or phrase of up to three words found in 8 prompts is in both labels."""
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records():
        for phrase in phrases(record["prompt"]):
            labels[phrase][record["label"]] += 1
    frequent = {p: c for p, c in labels.items() if c.total() >= 8}
    assert len(frequent) > 100
    assert {} == {phrase: c for phrase, c in frequent.items() if len(c) == 1}


@pytest.mark.parametrize(
    "phrase", ["step by step", "disclaimers", "pretend", "without", "bomb", "kill"]
)
def test_telltale_phrases_are_in_both_labels(phrase: str) -> None:
    """Phrases that often mark harmful prompts mark neither side here."""
    labels = {r["label"] for r in records() if phrase in r["prompt"].lower()}
    assert {"safe", "unsafe"} == labels


@pytest.mark.slow
def test_words_alone_do_not_solve_it() -> None:
    """A linear bag-of-words model with whole groups held out stays under 0.75 AUROC."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=10, max_iter=1000),
    )
    truth = [record["label"] == "unsafe" for record in records()]
    scores = cross_val_predict(
        model,
        [record["prompt"] for record in records()],
        truth,
        groups=[record["group"] for record in records()],
        cv=GroupKFold(5),
        method="predict_proba",
    )[:, 1]
    assert roc_auc_score(truth, scores) < 0.75


def strings(value: object) -> Iterator[str]:
    """Yield every string inside nested JSON values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def opened(path: Path) -> IO[str]:
    """Open a text file that may be compressed with gzip or xz."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    if path.suffix == ".xz":
        return lzma.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def parsed(path: Path) -> Iterator[object]:
    """Yield the rows of a data file by its suffix: parquet, CSV, JSON, JSON lines."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        yield pq.read_table(path).to_pylist()
    elif path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.reader(file)
    elif path.suffix == ".json":
        yield json.loads(path.read_text(encoding="utf-8"))
    else:
        with opened(path) as file:
            yield from (json.loads(line) for line in file if line.strip())


@pytest.mark.slow
def test_no_prompt_is_in_a_public_dataset() -> None:
    """No prompt equals, once folded, any text of the public sets at hand."""
    root = os.environ.get("SAFEBENCH_DATA")
    if not root:
        pytest.skip("SAFEBENCH_DATA is not set: no public datasets to compare with")
    suffixes = {".parquet", ".csv", ".json", ".jsonl", ".gz", ".xz"}
    files = [p for p in sorted(Path(root).rglob("*")) if p.suffix in suffixes]
    ours = {folded(record["prompt"]) for record in records()}
    texts = (text for path in files for row in parsed(path) for text in strings(row))
    seen = 0
    shared = set()
    for seen, text in enumerate(texts, start=1):  # noqa: B007
        shared |= {folded(text)} & ours
    assert seen > 0
    assert set() == shared
