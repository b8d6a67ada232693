"""Repeat what the methods of our plugins were published with, and print both numbers.

    python benchmarks/original.py NAME WORK [FLAG ...]

NAME is ensembles, cost, marginalization or feedback. Each runs recipes of
``benchmarks/recipes/original`` through the command line, in folders of WORK; started
again, it goes on. ``ensembles`` trains three and prints a table of them. Flags after
WORK go to the command itself, such as ``--sample 300 --base tfidf`` for a trial: the
table then says that these are not the published settings.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

RECIPES = Path(__file__).parent / "recipes" / "original"
ENSEMBLES = ("ensemble-distilbert", "ensemble-bert", "ensemble-roberta")
CATEGORY_METRICS = ("micro_f1", "hamming_loss", "micro_auroc")
MEAN_LOGITS = "ensemble (mean_logits)"
UNGATED = "learnt, no gate"
Line = dict[str, str]


def main(arguments: Sequence[str]) -> None:
    """Run what is named first, in the folder that is named second."""
    names = "|".join(REPEATS)
    name, *rest = arguments or [""]
    if name not in REPEATS or not rest:
        sys.exit(f"usage: python benchmarks/original.py {names} WORK [FLAG ...]")
    work, *flags = rest
    print_lines(name, REPEATS[name](Path(work), flags), flags)


def ensembles(work: Path, flags: list[str]) -> list[Line]:
    """Train three ensembles and return F1 of their mean logits on the test rows."""
    lines = []
    for recipe in ENSEMBLES:
        facts = train("bert_ensemble", recipe, work, flags)
        lines.append(line(recipe, *measured(facts, "f1", MEAN_LOGITS)))
    return lines


def cost(work: Path, flags: list[str]) -> list[Line]:
    """Train the cost model and return its sign accuracy, row by row as published."""
    facts = train("cost_model", "cost-gptneo", work, flags)
    return [line("cost-gptneo", *measured(facts, "sign_accuracy (rows)", "cost_model"))]


def marginalization(work: Path, flags: list[str]) -> list[Line]:
    """Run the seven readings, write their table as CSV, and return its lines."""
    recipe = "token-marginalization"
    run = work / recipe
    safebench("run", "--config", RECIPES / f"{recipe}.yaml", "--out", run, *flags)
    table = safebench("leaderboard", run, "--metrics", ",".join(CATEGORY_METRICS),
                      "--format", "csv", captured=True)  # fmt: skip
    (work / f"{recipe}.csv").write_text(table, encoding="utf-8")
    lines = []
    for row in csv.DictReader(io.StringIO(table)):
        name = f"{row['classifier']} {row['strategy']} on {row['dataset']}"
        cells = {metric: shown(number(row[metric])) for metric in CATEGORY_METRICS}
        lines.append({"recipe": name, **cells, "n": row["n"]})
    return lines


def feedback(work: Path, flags: list[str]) -> list[Line]:
    """Collect, learn and evaluate, and return the precision of what was learnt."""
    recipe = "output-feedback"
    out = work / recipe
    config = RECIPES / f"{recipe}.yaml"
    safebench("feedback", "full", "--config", config, "--out", out, *flags)
    texts = (out / "improved" / "results.jsonl").read_text(encoding="utf-8")
    lines = []
    for row in map(json.loads, texts.splitlines()):
        if row["metric"] == "precision" and row["slice"] is None:
            ends = row["ci_low"], row["ci_high"]
            cells = line(recipe, row["value"], *ends, row["n"])
            # what was published is of the guard that had learnt, without a gate
            published = {} if row["strategy"] == UNGATED else {"published": "-"}
            name = f"{row['strategy']}, {row['task']} of {row['dataset']}"
            lines.append(cells | published | {"recipe": name})
    return lines


REPEATS = {
    "ensembles": ensembles,
    "cost": cost,
    "marginalization": marginalization,
    "feedback": feedback,
}


def train(trainer: str, recipe: str, work: Path, flags: list[str]) -> dict[str, Any]:
    """Train by a recipe, or go on, and return what the artifact's file holds."""
    out = work / recipe
    resume = ["--resume"] if (out / "safebench.json").exists() else []
    config = RECIPES / f"{recipe}.yaml"
    safebench("train", trainer, "--config", config, "--out", out, *flags, *resume)
    facts: dict[str, Any] = json.loads((out / "safebench.json").read_text())
    return facts


def safebench(*words: object, captured: bool = False) -> str:
    """Run the command line; its failure ends this script with its exit code."""
    command = [sys.executable, "-m", "safebench", *map(str, words)]
    print("$", shlex.join(["safebench", *command[3:]]), file=sys.stderr, flush=True)
    pipe = subprocess.PIPE if captured else None
    done = subprocess.run(command, stdout=pipe, text=True, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout or ""


def measured(facts: dict[str, Any], metric: str, who: str) -> tuple[Any, ...]:
    """Return value, ends and n of a metric on the test part; nulls if it has none.

    Of several measured models, members of one among them, the one named `who` counts.
    Pairs that were labelled once each are counted as rows already.
    """
    models = facts["metrics"]["test"]
    metrics = models[who] if len(models) > 1 else next(iter(models.values()))
    for name in (metric, metric.removesuffix(" (rows)")):
        if name in metrics:
            cells = metrics[name]
            return tuple(cells.get(key) for key in ("value", "low", "high", "n"))
    return None, None, None, None


def line(recipe: str, value: Any, low: Any, high: Any, n: Any) -> Line:
    """Return one line of the table beside what was published."""
    published = yaml.safe_load((RECIPES / "published.yaml").read_text())[recipe]
    known = None not in (low, high)
    return {
        "recipe": recipe,
        "metric": published["metric"],
        "published": shown(published["value"]),
        "measured": shown(value),
        "95 %": f"{low:.3f} to {high:.3f}" if known else "-",
        "n": str(n),
    }


def number(text: str) -> float | None:
    """Return a cell of a CSV table."""
    return float(text) if text else None


def shown(value: float | None) -> str:
    """Return a number of the table, or that there is none."""
    return "-" if value is None else f"{value:.3f}"


def print_lines(name: str, lines: list[Line], flags: list[str]) -> None:
    """Print published and measured numbers side by side."""
    table = Table(title=f"{name}: as published, and as measured here")
    for heading in lines[0] if lines else ():
        table.add_column(heading, overflow="fold")
    for row in lines:
        table.add_row(*map(Text, row.values()))
    console = Console()
    console.print(table)
    if flags:
        console.print(Text(f"not the published settings: {shlex.join(flags)}"))


if __name__ == "__main__":
    main(sys.argv[1:])
