"""The leaderboard as Parquet: typed columns that pandas reads, whatever the values."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow.parquet as pq

from safebench.console import RenderOptions
from safebench.metrics.catalog import SPECS
from safebench.reporters.leaderboard import build_leaderboard
from safebench.reporters.parquet import render_parquet

if TYPE_CHECKING:
    from conftest import Rows


def read(rows: Rows, values: dict[str, float | None], **fields: object) -> pd.DataFrame:
    """Return a table of one guard as pandas reads it."""
    table = build_leaderboard(rows(values, **fields), specs=SPECS)
    return pd.read_parquet(io.BytesIO(render_parquet(table, RenderOptions())))


def test_numbers_intervals_and_notes(rows: Rows) -> None:
    """Unrounded; what to know of a number is listed."""
    frame = read(
        rows,
        {"auroc": 0.8765432109, "f1": None},
        ci_low=0.8,
        ci_high=0.9,
        note="why",
        calibrator="platt",
    )

    (line,) = frame.to_dict("records")
    assert (0.8765432109, 0.8, 0.9) == (
        line["auroc"],
        line["auroc_low"],
        line["auroc_high"],
    )
    assert pd.isna(line["f1"])
    assert ["auroc: why", "f1: why"] == list(line["notes"])
    assert ("guard", "greedy", "platt", "set:test") == tuple(
        line[name] for name in ("classifier", "strategy", "calibrator", "dataset")
    )
    assert (8, 4, 0, True) == tuple(
        line[name] for name in ("n", "n_pos", "n_failed", "ranked")
    )


def test_types_do_not_depend_on_values(rows: Rows) -> None:
    """A table of nulls can be put below one of numbers."""
    full = read(rows, {"auroc": 0.5, "f1": 0.5}, calibrator="platt", slice=None)
    empty = read(rows, {"auroc": None, "f1": None}, n_pos=None)

    assert dict(full.dtypes) == dict(empty.dtypes)
    assert "Int64" == str(empty["n_pos"].dtype)
    assert "float64" == str(empty["f1"].dtype)
    assert [] == list(full["notes"][0])


def test_a_metric_may_be_called_like_a_column(rows: Rows) -> None:
    """No column is there twice; footnotes are in the metadata of the schema."""
    given = rows({"n": 0.25, "auroc": 0.5}, n_failed=1)
    table = build_leaderboard(given, metrics=["n", "auroc"])
    content = io.BytesIO(render_parquet(table, RenderOptions()))

    schema = pq.read_schema(content)
    frame = pd.read_parquet(content)

    assert len({*schema.names}) == len(schema.names)
    assert (0.25, 8) == (frame["metric_n"][0], frame["n"][0])
    about = json.loads(schema.metadata[b"safebench"])
    assert about["footnotes"] == list(table.footnotes) != []


def test_names_of_intervals_stay_apart(rows: Rows) -> None:
    """A metric that is called as the end of another one's interval is."""
    given = rows({"auroc": 0.5, "auroc_low": 0.25}, ci_low=0.4, ci_high=0.6)
    table = build_leaderboard(given, metrics=["auroc", "auroc_low"])

    frame = pd.read_parquet(io.BytesIO(render_parquet(table, RenderOptions())))

    assert frame.columns.is_unique
    assert (0.5, 0.4, 0.25) == tuple(
        frame[name][0] for name in ("auroc", "auroc_low", "metric_auroc_low")
    )
