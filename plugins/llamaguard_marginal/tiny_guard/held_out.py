"""The sets that are measured and never trained on, and the keys they forbid."""

from __future__ import annotations

import json
import lzma
from typing import TYPE_CHECKING, Any

from tiny_guard.rows import TrainingRow, fraction, in_code_order
from tiny_guard.sources import jsonl, openai_moderation, parquet, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Half of the moderation rows train, the other half measures.
OPENAI_SPLIT = 0.5
OPENAI = "mmathys/openai-moderation-api-evaluation/samples-1680.jsonl.gz"


def is_openai_held_out(row: TrainingRow) -> bool:
    """Tell whether a row is in the half of the moderation rows that only measures."""
    return fraction(row.prompt, "openai-moderation") < OPENAI_SPLIT


def _toxic_chat(data: Path, part: str) -> Iterator[TrainingRow]:
    name = f"lmsys/toxic-chat/data/0124/toxic-chat_annotation_{part}.csv"
    for record in table(data / name):
        unsafe = record["toxicity"] == "1"
        yield TrainingRow(f"toxic-chat-{part}", record["user_input"], None, unsafe)


def _wildguard_test(data: Path) -> Iterator[TrainingRow]:
    for record in parquet(data / "allenai/wildguardmix/test/wildguard_test.parquet"):
        unsafe = record["prompt_harm_label"] == "harmful"
        yield TrainingRow("wildguard-test", record["prompt"], None, unsafe)


def _xstest(data: Path) -> Iterator[TrainingRow]:
    for record in parquet(data / "walledai/XSTest/data/train-00000-of-00001.parquet"):
        yield TrainingRow("xstest", record["prompt"], None, record["label"] == "unsafe")


def _openai_held_out(data: Path) -> Iterator[TrainingRow]:
    rows = openai_moderation(data / OPENAI)
    yield from (row for row in rows if is_openai_held_out(row))


def _beavertails(data: Path) -> Iterator[TrainingRow]:
    path = data / "PKU-Alignment/BeaverTails/round0/30k/test.jsonl.xz"
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            unsafe = not record["is_safe"]
            yield TrainingRow(
                "beavertails", record["prompt"], record["response"], unsafe
            )


def _xstest_response(data: Path) -> Iterator[TrainingRow]:
    for record in jsonl(data / "allenai/xstest-response/response_harmfulness.jsonl"):
        unsafe = record["label"] == "harmful"
        yield TrainingRow(
            "xstest-response", record["prompt"], record["response"], unsafe
        )


def _diasafety(data: Path) -> Iterator[TrainingRow]:
    for record in jsonl(data / "thu-coai/diasafety/val.jsonl"):
        unsafe = record["label"] == "Unsafe"
        yield TrainingRow(
            "diasafety-val", record["context"], record["response"], unsafe
        )


def _dices(data: Path) -> Iterator[TrainingRow]:
    for record in jsonl(data / "google/dices_dataset/dices_990_votes.jsonl"):
        if record["majority_unsafe"] in ("Yes", "No"):
            unsafe = record["majority_unsafe"] == "Yes"
            yield TrainingRow("dices", record["context"], record["response"], unsafe)


def _moderation_lm3(data: Path) -> Iterator[TrainingRow]:
    name = "the-fenrir/MarginalProb4Classification/content_moderation_lm3.jsonl"
    for record in jsonl(data / name):
        codes = in_code_order(set(record["llama_guard_3_categories"]))
        yield TrainingRow(
            "content-moderation-lm3", record["unsafe_query"], None, True, codes
        )


def starter(path: Path) -> Iterator[TrainingRow]:
    """Read the starter prompts of the harness from JSON lines."""
    for record in jsonl(path):
        prompt = _first_text(record)
        codes = in_code_order(set(record.get("categories") or ()))
        yield TrainingRow(
            "starter", prompt, None, record["label"] == "unsafe", codes or None
        )


def _first_text(record: dict[str, Any]) -> str:
    text = record.get("prompt") or record.get("text")
    return str(text or record["messages"][-1]["content"])


def held_out_sets(
    data: Path, starter_path: Path | None
) -> dict[str, list[TrainingRow]]:
    """Every measured set by name."""
    sets = {
        "toxic-chat-test": list(_toxic_chat(data, "test")),
        "toxic-chat-train": list(_toxic_chat(data, "train")),
        "wildguard-test": list(_wildguard_test(data)),
        "openai-moderation": list(_openai_held_out(data)),
        "xstest": list(_xstest(data)),
        "content-moderation-lm3": list(_moderation_lm3(data)),
        "beavertails": list(_beavertails(data)),
        "xstest-response": list(_xstest_response(data)),
        "diasafety-val": list(_diasafety(data)),
        "dices": list(_dices(data)),
    }
    if starter_path is not None and starter_path.is_file():
        sets["starter"] = list(starter(starter_path))
    return sets
