"""Every declared set is read by its name from a copy in its schema."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from safebench.datasets.catalog import SPECS
from safebench.datasets.sets import DECLARED_SETS
from safebench.policies.policy import policy_ids
from safebench.records import TASKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.records import Dataset
    from safebench.specs import DatasetSpec

    Load = Callable[..., Dataset]
    Rows = list[dict[str, Any]] | list[Any] | str

EXAMPLES: dict[str, dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("declared_sets.yaml").read_text()
)
# ORG/NAME:PATH of a file, or a page; a bare folder says no columns
CITATION = re.compile(
    r"(https://\S+[^/\s]|[\w.-]+/[\w.-]+:(?!/)(?:.*/)?[^/]+\.\w+)"
    r"( \(columns not checked\))?"
)
PUBLIC_SETS = [spec for spec in SPECS if spec.hub_id]
BY_NAME = {spec.name: spec for spec in DECLARED_SETS}


def write_rows(path: Path, rows: Rows) -> None:
    """Write rows in the format that the file's name says; text as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(rows, str):
        path.write_text(rows)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffixes == [".jsonl", ".gz"]:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        path.write_bytes(gzip.compress(lines.encode()))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        text = io.StringIO()
        separator = "\t" if path.suffix == ".tsv" else ","
        writer = csv.DictWriter(text, list(rows[0]), delimiter=separator)
        writer.writeheader()
        writer.writerows(rows)
        path.write_text(text.getvalue())


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_set_is_read_by_name(name: str, load: Load, tmp_path: Path) -> None:
    """Texts, labels, categories and the task are those that the schema means."""
    example = EXAMPLES[name]
    for file, rows in example["files"].items():
        write_rows(tmp_path / file, rows)

    dataset = load(example.get("as", name), data_root=tmp_path)

    read = [
        [
            sample.judged.text,
            truth.label.value,
            None if truth.categories is None else sorted(truth.categories),
        ]
        for sample, truth in zip(dataset.samples, dataset.ground_truth, strict=True)
    ]
    if example.get("unordered"):  # the order of files is the library's
        read.sort(key=example["expected"].index)
    assert example["expected"] == read
    votes = [truth.label.votes for truth in dataset.ground_truth]
    assert example.get("votes", [None] * len(read)) == [v and [*v] for v in votes]
    assert example.get("task", "prompt_harm") == dataset.task
    languages = [sample.language for sample in dataset.samples]
    assert example.get("languages", [None] * len(read)) == languages
    documents = [sample.documents for sample in dataset.samples if sample.documents]
    assert example.get("documents", []) == [text for one in documents for text in one]


def test_every_declared_set_has_an_example() -> None:
    """A set that no test reads may not be readable."""
    assert BY_NAME.keys() == EXAMPLES.keys() & BY_NAME.keys()


# lines of text and files without a header have no column that could be renamed
HEADERLESS = ("malicious_instruct", "hex_phi", "xsafety")


@pytest.mark.parametrize(
    "name",
    [n for n in EXAMPLES if n in BY_NAME and n not in HEADERLESS],
)
def test_a_renamed_column_is_named(
    name: str, error_message: Callable[..., str], tmp_path: Path
) -> None:
    """Rows without the text that is judged: the message says what is there."""
    recipe = BY_NAME[name].recipe
    assert recipe
    names = (*recipe.prompt, recipe.messages, recipe.transcript, recipe.claim)
    columns = {column.partition(".")[0] for column in names}
    for file, rows in EXAMPLES[name]["files"].items():
        if isinstance(rows, str):
            write_rows(tmp_path / file, rows)
            continue
        renamed = [
            {f"{k}_x" if k in columns else k: v for k, v in row.items()} for row in rows
        ]
        write_rows(tmp_path / file, renamed)

    message = error_message(name, data_root=tmp_path)

    assert "no column" in message
    assert "did you mean" in message
    assert "(columns: " in message


@pytest.mark.parametrize("spec", PUBLIC_SETS, ids=[s.name for s in PUBLIC_SETS])
def test_every_public_set_has_a_card(spec: DatasetSpec) -> None:
    """Task, taxonomy, licence, columns, what it leaves untold, counts and sources."""
    card = spec.card

    assert spec.task in TASKS
    assert spec.licence not in ("", "unknown")
    assert spec.policy is None or spec.policy in policy_ids()
    assert card
    assert card.columns
    assert all(card.columns.values())
    assert card.untold
    assert card.taxonomy
    assert spec.policy is None or card.taxonomy == spec.policy
    assert card.sources
    assert [] == [source for source in card.sources if not CITATION.fullmatch(source)]
    assert {*card.rows} <= {*spec.splits}
    assert card.rows or "number of rows" in card.untold
    unchecked = any("not checked" in source for source in card.sources)
    assert not (unchecked and card.checked == "data")


@pytest.mark.parametrize(
    ("source", "is_citation"),
    [
        ("org/name:README.md", True),
        ("org/name:data/a set - cases.csv", True),
        ("org/name:data/rows.jsonl.gz", True),
        ("https://huggingface.co/datasets/org/name", True),
        ("org/name:README.md (columns not checked)", True),
        ("org/name:data/", False),
        ("org/name:data", False),
        ("org/name", False),
        ("name:README.md", False),
        ("https://huggingface.co/datasets/org/", False),
        ("somebody said so", False),
    ],
)
def test_a_citation_is_a_file_or_a_page(source: str, is_citation: bool) -> None:
    """What is cited can be opened."""
    assert is_citation == bool(CITATION.fullmatch(source))


def test_yaml_without_rows_is_refused(
    error_message: Callable[..., str], tmp_path: Path
) -> None:
    """A file that a pattern names is not passed over."""
    folder = tmp_path / "Giskard-AI/realharm/data"
    write_rows(folder / "safe/a.yml", "just words\n")
    message = error_message("realharm:safe", data_root=tmp_path)
    assert "data/safe/a.yml: YAML without rows" in message

    write_rows(folder / "safe/a.yml", "a: [1\n")
    message = error_message("realharm:safe", data_root=tmp_path)
    assert "data/safe/a.yml: not YAML" in message
