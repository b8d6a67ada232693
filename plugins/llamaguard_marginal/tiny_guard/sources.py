"""One reader per licence-clean source: from its file to rows."""

from __future__ import annotations

import csv
import gzip
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tiny_guard.rows import TrainingRow, as_text, in_code_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
SOURCES: dict[str, dict[str, dict[str, Any]]] = json.loads(
    (HERE / "sources.json").read_text(encoding="utf-8")
)
CODES: dict[str, Any] = json.loads(
    (HERE / "categories.json").read_text(encoding="utf-8")
)
LICENCES = frozenset(SOURCES["licences"])
# The prompts of these sources are read from their own files, with more columns.
_READ_ELSEWHERE = ("allenai/", "declare-lab/CategoricalHarmfulQA")
_TOOL_HEADER = re.compile(r"^toolformer:.*?\(\w+\)\s*", re.DOTALL)


def jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Read the records of a JSON-lines file, plain or gzipped."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines if line.strip())


def table(path: Path) -> Iterator[dict[str, str]]:
    """Read the records of a CSV file."""
    with path.open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


def parquet(path: Path) -> list[dict[str, Any]]:
    """Read the records of a parquet file."""
    records: list[dict[str, Any]] = pd.read_parquet(path).to_dict("records")
    return records


def map_categories(source: str, *keys: str) -> tuple[str, ...] | None:
    """Codes of the most specific key the map has; None when it has none."""
    for end in range(len(keys), 0, -1):
        codes_of_key = CODES[source].get("/".join(keys[:end]))
        if codes_of_key:
            return tuple(codes_of_key)
    return None


def openai_moderation(path: Path) -> Iterator[TrainingRow]:
    """Multi-label rows; a missing key is unknown, so the list may be incomplete."""
    keys = CODES["openai-moderation"]
    for record in jsonl(path):
        hits = {code for key in keys if record.get(key) == 1 for code in keys[key]}
        yield TrainingRow(
            "openai-moderation",
            record["prompt"],
            None,
            bool(hits),
            in_code_order(hits) or None,
            complete=all(key in record for key in keys),
        )


def wildguard(path: Path) -> Iterator[TrainingRow]:
    """Prompts with a harm label and no category."""
    for record in parquet(path):
        label = record["prompt_harm_label"]
        if label in ("harmful", "unharmful"):
            prompt = record["prompt"]
            yield TrainingRow("wildguard-train", prompt, None, label == "harmful")


def catqa(path: Path) -> Iterator[TrainingRow]:
    """Harmful questions with category and subcategory."""
    for record in jsonl(path):
        codes = map_categories("catqa", record["Category"], record["Subcategory"])
        yield TrainingRow("catqa", record["Question"], None, True, codes)


def jbb(folder: Path) -> Iterator[TrainingRow]:
    """Harmful behaviours and their benign twins."""
    for record in table(folder / "harmful-behaviors.csv"):
        codes = map_categories("jbb", record["Category"])
        yield TrainingRow("jbb", record["Goal"], None, True, codes)
    for record in table(folder / "benign-behaviors.csv"):
        yield TrainingRow("jbb", record["Goal"], None, False)


def jbb_artifacts(folder: Path) -> Iterator[TrainingRow]:
    """Attack prompts (harmful), and the responses that a judge rated."""
    for path in sorted(folder.rglob("*.json")):
        attacks = json.loads(path.read_text(encoding="utf-8"))["jailbreaks"]
        for attack in attacks:
            prompt, response = attack["prompt"], attack["response"]
            if not prompt:
                continue
            codes = map_categories("jbb", attack["category"])
            yield TrainingRow("jbb-artifacts", prompt, None, True, codes)
            if response:
                unsafe = bool(attack["jailbroken"])
                known = codes if unsafe else None
                yield TrainingRow("jbb-artifacts", prompt, response, unsafe, known)


def in_the_wild(path: Path) -> Iterator[TrainingRow]:
    """Jailbreak personas: real texts whose harm nobody rated, so no label."""
    for record in table(path):
        yield TrainingRow("in-the-wild", record["prompt"], None, None)


def diasafety(path: Path) -> Iterator[TrainingRow]:
    """Read replies in dialogue, and their contexts as texts without a label."""
    for record in jsonl(path):
        unsafe = record["label"] == "Unsafe"
        codes = map_categories("diasafety", record["category"]) if unsafe else None
        context, reply = record["context"], record["response"]
        yield TrainingRow("diasafety", context, reply, unsafe, codes)
        yield TrainingRow("diasafety", context, None, None)


def tdavidson(path: Path) -> Iterator[TrainingRow]:
    """Tweets that a clear majority called hate, or neither hate nor offence."""
    for record in table(path):
        votes = int(record["count"])
        hate, neither = int(record["hate_speech_count"]), int(record["neither_count"])
        if hate * 3 >= votes * 2:
            yield TrainingRow(
                "tdavidson",
                record["tweet"],
                None,
                True,
                map_categories("tdavidson", "0"),
            )
        elif neither == votes:
            yield TrainingRow("tdavidson", record["tweet"], None, False)
        elif record["class"] == "1":
            yield TrainingRow("tdavidson", record["tweet"], None, None)


def mix(path: Path) -> Iterator[TrainingRow]:
    """Rows of the prompt mix whose own licence allows it."""
    for record in jsonl(path):
        origin = record["source"]
        if record["license"] in LICENCES and not origin.startswith(_READ_ELSEWHERE):
            unsafe = bool(record["label"])
            yield TrainingRow(
                "mix",
                record["prompt"],
                None,
                unsafe,
                origin=origin,
                licence=record["license"],
            )


def benign(path: Path) -> Iterator[TrainingRow]:
    """Ordinary instructions; the tool header of toolformer rows is dropped."""
    for record in jsonl(path):
        if record["license"] in LICENCES:
            prompt = _TOOL_HEADER.sub("", record["prompt"])
            yield TrainingRow(
                "benign",
                prompt,
                None,
                False,
                origin=record["source"],
                licence=record["license"],
            )


def project_prompts(path: Path) -> Iterator[TrainingRow]:
    """Prompts written for this project: `text` or `prompt`, a label, categories."""
    for record in jsonl(path):
        prompt = as_text(record, "prompt") or as_text(record, "text")
        unsafe = record["label"] in ("unsafe", 1, True)
        codes = in_code_order(set(record.get("categories") or ())) or None
        response = record.get("response")
        yield TrainingRow(
            "project", prompt, response, unsafe, codes if unsafe else None
        )


READERS: dict[str, Callable[[Path], Iterator[TrainingRow]]] = {
    "wildguard-train": wildguard,
    "openai-moderation": openai_moderation,
    "catqa": catqa,
    "jbb": jbb,
    "jbb-artifacts": jbb_artifacts,
    "in-the-wild": in_the_wild,
    "diasafety": diasafety,
    "tdavidson": tdavidson,
    "mix": mix,
    "benign": benign,
}
