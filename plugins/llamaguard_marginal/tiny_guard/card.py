"""The model card: card.md filled with the numbers of one results record."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from tiny_guard.sources import CODES, SOURCES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HERE = Path(__file__).parent
_SYNTHETIC_SOURCES = {
    "answers": ("answers made from the prompts of the other rows", "as the prompts"),
    "variants": ("texts made from the prompts of the other rows", "as the prompts"),
}


def number(value: float | None) -> str:
    """Three decimals, or a dash where the figure is undefined."""
    return "-" if value is None else f"{value:.3f}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def results_table(sets: dict[str, Any]) -> str:
    """One row a set: size, then guard and bag of words side by side."""
    head = ["set", "n", "unsafe", "AUROC", "bag of words", "F1", "bag of words"]
    head += ["safe flagged", "bag of words", "unsafe flagged", "bag of words"]
    rows = []
    for name, both in sets.items():
        guard, baseline = both["tiny_guard"], both["bag_of_words"]
        cells = [name, str(guard["n"]), str(guard["unsafe"])]
        for metric in ("auroc", "f1", "flagged_safe", "flagged_unsafe"):
            cells += [number(guard[metric]), number(baseline[metric])]
        rows.append(cells)
    return markdown(head, rows)


def categories_table(categories: dict[str, Any]) -> str:
    """Micro-F1 of the category lists."""
    rows = (
        [name, str(count["n"]), number(count["micro_f1"])]
        for name, count in categories.items()
    )
    return markdown(["rows", "n", "micro-F1"], rows)


def rows_table(rows: dict[str, Any]) -> str:
    """One row a source: origin, licence, counts."""
    lines = []
    for name, count in rows.items():
        source = SOURCES["rows"].get(count["source"], {})
        made = _SYNTHETIC_SOURCES.get(count["source"])
        origin, licence = made or (source["origin"], source["licence"])
        if name != count["source"]:
            origin, licence = name, count["licence"]
        kinds = ("safe", "unsafe", "with_categories", "unlabelled")
        lines.append([origin, licence, *(str(count.get(kind, 0)) for kind in kinds)])
    head = ["source", "licence", "safe", "unsafe", "with categories", "no label"]
    return markdown(head, lines)


def command(options: dict[str, Any]) -> str:
    """Write the command line that repeats the run."""
    script = "python plugins/llamaguard_marginal/tiny_guard/train.py DATA"
    flags = (f" --{name.replace('_', '-')} {value}" for name, value in options.items())
    return script + "".join(flags)


def write_card(path: Path, results: dict[str, Any]) -> None:
    """Fill card.md and write it beside the weights."""
    rows, options = results["rows"], results["options"]
    unknown = sum(
        count.get("unsafe", 0) - count.get("with_categories", 0)
        for count in rows.values()
    )
    topics = ", ".join(f"{code} {topic}" for code, topic in CODES["codes"].items())
    text = Template((HERE / "card.md").read_text(encoding="utf-8")).substitute(
        PARAMETERS=f"{results['parameters']:,}",
        LAYERS=options["layers"],
        VOCABULARY=f"{options['vocabulary']:,}",
        LIMIT=options["limit"],
        CATEGORIES=topics,
        RESULTS=results_table(results["sets"]),
        CODES=categories_table(results["categories"]),
        ROWS=rows_table(rows),
        COMMAND=command(options),
        STEPS=options["steps"],
        LONG_STEPS=options["long_steps"],
        MORE_STEPS=options["more_steps"],
        LONG_LIMIT=options["long_limit"],
        LABEL_WEIGHT=results["label_weight"],
        SECONDS=results["cpu_seconds"],
        UNKNOWN=unknown,
    )
    path.write_text(text, encoding="utf-8")
