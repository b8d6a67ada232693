"""From rows on disk to a table of results, by the commands that a person types."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.plugins import Plugins
from safebench.results import read_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def run(*words: object) -> str:
    """Run a command and return what it lines."""
    result = CliRunner().invoke(
        cli, [str(word) for word in words], obj=Plugins(), catch_exceptions=False
    )
    assert 0 == result.exit_code, result.output
    return result.output


@pytest.fixture
def data_root(tmp_path: Path, make_rows: Callable[..., list[Any]]) -> Path:
    """Return a folder with a set in the current schema, laid out as on the hub."""
    folder = tmp_path / "data" / "PKU-Alignment" / "PKU-SafeRLHF"
    folder.mkdir(parents=True)
    for seed, (split, n) in enumerate({"train": 120, "test": 40}.items()):
        rows = [as_row(row, i) for i, row in enumerate(make_rows(n, seed))]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text)
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        "  - split: train\n    path: train.jsonl\n"
        "  - split: test\n    path: test.jsonl\n---\n"
    )
    return tmp_path / "data"


def as_row(row: Any, i: int) -> dict[str, Any]:
    """Return a pair as a row; every other one has the safer response first."""
    prompt, unsafer, safer = row
    sides = (safer, unsafer) if i % 2 else (unsafer, safer)
    row: dict[str, Any] = {"prompt": f"{prompt} {i}", "better_response_id": 0}
    row["safer_response_id"] = int(sides[1] is safer)
    for j, (text, unsafe, severity) in enumerate(sides):
        row[f"response_{j}"] = text
        row[f"is_response_{j}_safe"] = not unsafe
        row[f"response_{j}_severity_level"] = severity
        row[f"response_{j}_harm_category"] = {"Violence": unsafe}
    return row


@pytest.mark.slow
def test_train_run_and_score(
    tiny_bert: Path,
    data_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The artifact of train is what run and score read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAFEBENCH_CACHE", str(tmp_path / "cache"))
    data = ("--data-root", data_root)
    sets = ("--dataset", "pku_safe_rlhf", "--test-dataset", "pku_safe_rlhf:test")

    lines = run(
        "train", "cost_model", "--base", tiny_bert, *sets, *data, "--out", "cost",
        "--max-length", 48, "--epochs", 4, "--lr", 5e-3, "--batch", 8, "--members", 2,
        "--set", "use_cpu=true",
    )  # fmt: skip
    run("train", "cost_model", "--base", "tfidf", *sets, *data, "--out", "words")
    model = ("-c", "cost_model,device=cpu", "--model", "cost")
    judged = run(
        "run", *model, "-s", "all", "-d", "pku_safe_rlhf", *data, "--out", "runs"
    )
    scored = run("score", *model, "--json", "--response", "then burns the cat", "what")
    words = run("score", "-c", "cost_tfidf", "--model", "words",
                "--response", "then burns the cat", "what")  # fmt: skip

    manifest = json.loads((tmp_path / "cost" / "safebench.json").read_text())
    assert ("done", "encoder", "own") == tuple(
        manifest[key] for key in ("status", "family", "pooling")
    )
    assert manifest["calibration"]["temperature"] > 0
    assert "ranking_accuracy (both unsafe)" in manifest["metrics"]["test"]["cost_model"]
    assert "sign_accuracy" in lines
    rows = read_rows(tmp_path / "runs" / "results.jsonl")
    assert {"cost", "cost_platt", "cost_sign", "cost_sigmoid", "cost_spread"} == {
        row.strategy for row in rows
    }
    assert {"cost", "cost_platt"} == {
        row.strategy for row in rows if row.metric == "brier" and row.value is not None
    }
    aurocs = {row.value for row in rows if row.metric == "auroc"} - {None}
    assert 1 == len(aurocs)
    (doubt,) = [r for r in rows if (r.strategy, r.metric) == ("cost_spread", "aurc")]
    assert doubt.value is not None
    assert {"member 1", "member 2"} < manifest["metrics"]["test"].keys()
    assert "cost_sign" in judged
    (line,) = [json.loads(text) for text in scored.splitlines() if text.startswith("{")]
    assert "cost" in line
    assert isinstance(line["cost"], float)
    assert ("safe" if line["cost"] < 0 else "unsafe") == line["verdict"]
    # Every strategy decides alike, whatever constants its probability has.
    for metric in ("accuracy", "f1"):
        found = {
            row.strategy: row.value
            for row in rows
            if row.metric == metric and row.strategy != "cost_spread"
        }
        assert 1 == len(set(found.values())), found
    assert "below 0 is safe" in words


@pytest.mark.slow
def test_what_a_model_lacks_stops_one_strategy_alone(
    tiny_bert: Path,
    data_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model without calibration is read by all others; asked alone, it is refused."""
    from transformers import AutoTokenizer

    from safebench_cost_model.model.network import load_cost_network

    load_cost_network(tiny_bert, "tiny", new_head=True).save_pretrained(
        tmp_path / "bare"
    )
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path / "bare")
    monkeypatch.chdir(tmp_path)
    words = ("run", "-c", "cost_model,device=cpu,template=pair", "--model", "bare",
             "-d", "pku_safe_rlhf:test", "--data-root", str(data_root))  # fmt: skip

    lines = run(*words, "-s", "all", "--out", "all")
    alone = CliRunner().invoke(cli, [*words, "-s", "cost_platt"], obj=Plugins())

    rows = read_rows(tmp_path / "all" / "results.jsonl")
    assert {"cost", "cost_sign", "cost_sigmoid"} <= {row.strategy for row in rows}
    assert "cost_platt" not in {row.strategy for row in rows}
    assert "skipped cost_model x cost_platt: strategy 'cost_platt' needs" in lines
    assert 2 == alone.exit_code
