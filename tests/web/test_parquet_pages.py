"""Pages of predictions that are stored as parquet: the same as of JSON Lines."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from safebench.records import Turn, content_hash
from safebench.results.parquet_predictions import read_parquet_rows
from safebench.results.prediction_writing import write_predictions
from safebench.web.prediction_index import FILTERS, read_index

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask.testing import FlaskClient

    Read = Callable[..., Any]
    Make = Callable[..., Path]

ROW = {"strategy": "score", "metric": "auroc", "value": 0.7}
FOLDER = "predictions/keyword/mine.all"
PAGE = "/runs/tried/{}/keyword/mine.all/score{}"


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    """Return forty predictions with ties and gaps."""
    draw = random.Random(3)
    return [
        {
            "id": f"x-{i}",
            "content": content_hash((Turn("user", f"text {i}"),)),
            "classifier": "keyword",
            "strategy": "score",
            "dataset": "mine",
            "config": None,
            "split": "all",
            "task": "prompt_harm",
            "part": draw.choice(["test", "calibration"]),
            "score": draw.choice([0.1, 0.3, 0.5]),
            "threshold": 0.4,
            "decision": draw.choice([True, False, None]),
            "label": draw.choice([True, False, None]),
            "uncertainty": draw.choice([None, 0.25, 0.75]),
            "error": draw.choice([None, None, "no level"]),
            "raw": None,
            "categories": {"S1": 0.5},
            "predicted_categories": ["S1"],
        }
        for i in range(40)
    ]


@pytest.fixture
def both(
    make_run: Make, lines: list[dict[str, Any]], client: FlaskClient
) -> FlaskClient:
    """Write the predictions in either form; return who shows them."""
    folder = make_run("tried", [ROW], lines) / FOLDER
    write_predictions(folder / "other.jsonl", lines, "parquet")
    (folder / "other.parquet").rename(folder / "score.parquet")
    return client


@pytest.mark.parametrize("query", [*FILTERS, "all&part=test", "all&q=x-1&marks=open"])
def test_a_list_is_the_same_in_either_form(
    both: FlaskClient, read_page: Read, query: str
) -> None:
    """Every filter and order; only the file's name differs."""
    texts = [
        read_page(both.get(PAGE.format("predictions", suffix) + f"?show={query}"))
        for suffix in (".jsonl", ".parquet")
    ]

    rows = [[" ".join(cell.split()) for cell in page.texts.get("td", ())]
            for page in texts]  # fmt: skip
    heads = [page.texts.get("th") for page in texts]
    assert rows[0] == rows[1]
    assert heads[0] == heads[1]
    assert rows[0] or query == "failed"


def test_a_sample_is_found_in_files_of_either_form(
    both: FlaskClient, read_page: Read
) -> None:
    """The table of all its scores has both, each with a link to its own row."""
    for suffix in (".jsonl", ".parquet"):
        page = read_page(both.get(PAGE.format("sample/7", suffix)))

        assert page.text("h1") == "x-7"
        links = [a["href"] for a in page.all("a") if "/sample/7/" in str(a["href"])]
        ends = [link.partition("?")[0].rpartition(".")[2] for link in links]
        assert {"jsonl", "parquet"} <= set(ends)


def test_rows_are_read_from_their_row_groups_alone(
    tmp_path: Path, lines: list[dict[str, Any]]
) -> None:
    """In the order that was asked for, with values by category as they were."""
    import pyarrow.parquet as pq

    path = tmp_path / "score.jsonl"
    write_predictions(path, lines, "parquet")
    path = path.with_suffix(".parquet")
    pq.write_table(pq.read_table(path), path, row_group_size=7)

    read = read_parquet_rows(path, [39, 0, 13, 14])

    assert [lines[row] for row in (39, 0, 13, 14)] == read
    assert read_index(path).read([21])[0] == lines[21]


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"PAR1" * 40])
def test_what_is_no_parquet_file_says_so(
    both: FlaskClient, read_page: Read, tmp_path: Path, content: bytes
) -> None:
    """Cut off or damaged: no traceback, and the other form is still shown."""
    (tmp_path / "runs/tried" / FOLDER / "score.parquet").write_bytes(content)

    broken, whole = (
        both.get(PAGE.format("predictions", suffix))
        for suffix in (".parquet", ".jsonl")
    )

    assert (400, 200) == (broken.status_code, whole.status_code)
    assert "score.parquet holds no predictions" in read_page(broken).text()
