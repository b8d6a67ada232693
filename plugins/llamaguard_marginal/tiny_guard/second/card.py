"""The second guard's card, filled from its result, and its place in the package."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from tiny_guard.card import markdown, rows_table
from tiny_guard.second.compare import TFIDF
from tiny_guard.train import ARTIFACT

if TYPE_CHECKING:
    from tiny_guard.second.compare import Contest
    from tiny_guard.second.recipe import Recipe

HERE = Path(__file__).parent
# How the guards before are called in a table and in a sentence.
BEFORE = {"tiny-guard": "first guard", "tiny-guard-2": "second guard"}


def packaged(name: str) -> Path:
    """Return the folder of a guard of this name inside the package."""
    return ARTIFACT.with_name(name.replace("-", "_"))


def with_interval(interval: dict[str, Any]) -> str:
    """Value and interval, three digits after the point."""
    ends = [interval[key] for key in ("value", "low", "high")]
    value, low, high = ("-" if end is None else f"{end:.3f}" for end in ends)
    return f"{value} [{low}, {high}]"


def results_table(sets: dict[str, Any], contest: Contest) -> str:
    """One row a set: size, AUROC of all, and the leads on TF-IDF and each guard."""
    before = contest.before
    names = [BEFORE[name] for name in before]
    head = ["set", "n", "unsafe", "AUROC", *names, "TF-IDF", "lead on TF-IDF"]
    head += [f"lead on the {name}" for name in names]
    rows = []
    for name, facts in sets.items():
        others = (*before, TFIDF)
        aurocs = [f"{facts['auroc'][who]['value']:.3f}" for who in others]
        cells = [name, str(facts["n"]), str(facts["unsafe"])]
        cells += [with_interval(facts["auroc"][contest.new]), *aurocs]
        cells += [with_interval(facts["lead"][who]) for who in (TFIDF, *before)]
        rows.append(cells)
    return markdown(head, rows)


def verdicts(sets: dict[str, str]) -> str:
    """Say in a sentence what is shown against TF-IDF, set by set."""
    return "Against TF-IDF: " + "; ".join(f"{k}: {v}" for k, v in sets.items()) + "."


def card(result: dict[str, Any], recipe: Recipe) -> str:
    """Fill card.md with the numbers of one result."""
    contest = recipe.contest
    categories = ", ".join(
        f"{name} {both[contest.new]['micro_f1']:.3f} "
        f"({BEFORE[contest.old]} {both[contest.old]['micro_f1']:.3f}, "
        f"n = {both[contest.new]['n']})"
        for name, both in result["categories"].items()
    )
    out_of_fold = result["teachers"]["out of fold"]
    seeds = len(recipe.student.seeds)
    template = HERE / f"{recipe.name}.md"
    return Template(template.read_text(encoding="utf-8")).substitute(
        PARAMETERS=f"{result['parameters']:,}",
        COMMIT=result["registration"]["commit"][:12],
        RESULTS=results_table(result["sets"], contest),
        VERDICTS=verdicts(result["decision"]["against_tfidf"]),
        CATEGORIES=categories,
        LABELLED=f"{result['rows']['labelled']:,}",
        UNLABELLED=f"{result['rows']['unlabelled']:,}",
        ROWS=rows_table(result["rows"]["by_source"]),
        FOLDS=recipe.teacher.folds,
        TRAINED=recipe.teacher.trained_layers,
        TEACHERS=", ".join(f"{k} {v:.3f}" for k, v in out_of_fold.items()),
        LABEL_WEIGHT=recipe.student.label_weight,
        STEPS=recipe.student.steps + recipe.student.long_steps,
        SEEDS="" if seeds == 1 else f"; the mean of the weights of {seeds} seeds",
        SECONDS=f"{sum(result['cpu_seconds'].values()):,.0f}",
    )


def install(guard: Path, result: Path, recipe: Recipe, where: Path) -> Path:
    """Copy a guard into the package, with its card; the folder in which it lies.

    ValueError where its result says that it is not to be shipped, or is another
    registration's.
    """
    content = json.loads(result.read_text(encoding="utf-8"))
    if content["registration"]["sha256"] != recipe.sha256:
        raise ValueError(f"{result.name} is of another registration")
    if not content["decision"]["ship"]:
        raise ValueError(
            f"the guard is not better than {recipe.contest.old}: not installed"
        )
    fresh = where.with_name(where.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(guard, fresh)
    # As first stored: what a library adds when it stores it again says nothing.
    shutil.copy(ARTIFACT / "tokenizer_config.json", fresh)
    (fresh / "README.md").write_text(card(content, recipe), encoding="utf-8")
    shutil.rmtree(where, ignore_errors=True)
    fresh.rename(where)
    return where
