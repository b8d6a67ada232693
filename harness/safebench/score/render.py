"""A score result as text for pipes, as a drawing for terminals, or as a JSON line."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from safebench.console import render_rich
from safebench.sanitize import printable

from .result import describe_score, display_position, format_number, format_score

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from safebench.console import RenderOptions

    from .result import CategoryScore, ScoreResult


def text_lines(result: ScoreResult, location: str = "") -> Iterator[str]:
    """Yield a result as lines of text: verdict, numbers, categories, provenance."""
    if location:
        yield _text_line("input", printable(location))
    yield _text_line("verdict", result.verdict or "none")
    yield from (_text_line(*fact) for fact in score_facts(result))
    if result.ranked_categories:
        yield "categories"
        width = max(len(category.name) for category in result.ranked_categories)
        yield from (
            f"  {format_category(category, width)}"
            for category in result.ranked_categories
        )
    yield from (_text_line(*fact) for fact in provenance_facts(result))


def score_facts(result: ScoreResult) -> Iterator[tuple[str, str]]:
    """Yield the numbers of a result, each with its name; an action comes first."""
    if result.operating_point is not None:
        by = printable(f"operating point {result.operating_point['file']}")
        yield "action", f"{result.action or 'none'} (by {by})"
        low = (result.operating_point["review"] or {}).get("low")
        if low is not None:
            yield "review", f"from {format_number(low)}"
    if result.score is not None:
        yield "score", f"{format_score(result)} ({describe_score(result)})"
    if result.lower is not None and result.upper is not None:
        ends = format_number(result.lower), format_number(result.upper)
        exact = ends[0] == ends[1]
        yield "bounds", "exact to 4 digits" if exact else " to ".join(ends)
    if result.cost is not None:
        yield "cost", f"{format_number(result.cost)} (below 0 is safe)"
    if result.uncertainty is not None:
        low, high = result.uncertainty_lower, result.uncertainty_upper
        bounds = ""
        if low is not None and high is not None:
            bounds = f" ({format_number(low)} to {format_number(high)})"
        yield "uncertainty", format_number(result.uncertainty) + bounds


def format_category(category: CategoryScore, width: int) -> str:
    """Return a category with its score, bounds and decision."""
    assert category.score is not None, category
    text = f"{category.code:<4} {category.name:<{width}}  {category.score:7.4f}"
    if category.lower is not None and category.upper is not None:
        text += f"  {category.lower:.4f} to {category.upper:.4f}"
    return text + ("  flagged" if category.flagged else "")


def provenance_facts(result: ScoreResult) -> Iterator[tuple[str, str]]:
    """Yield what was judged by what, the time that it took, and notes."""
    if result.raw is not None:
        yield "written", printable(result.raw) or "(nothing)"
    yield "task", result.task
    yield "classifier", printable(result.classifier)
    yield "strategy", printable(result.strategy)
    yield "model", printable(result.model)
    if result.policy:
        yield "policy", printable(result.policy)
    loading = f" (after {result.loading:.1f} to load)" if result.loading else ""
    yield "seconds", f"{result.seconds:.3f}{loading}"
    if result.error:
        yield "error", printable(result.error)
    for note in result.notes:
        yield "note", printable(note)


def _text_line(name: str, text: str) -> str:
    return f"{name:<12} {text}"


BAR_CELLS = 28
MIN_SHOWN_SCORE = 0.005  # categories below it are counted, and not shown
VERDICT_STYLES = {True: "bold white on red", False: "bold white on green"}


def render_terminal(result: ScoreResult, location: str, options: RenderOptions) -> str:
    """Return a result with ANSI styles; nothing in it is read as markup."""
    width = min(options.width or 80, 100)
    # This form is for terminals, whatever the options were made for.
    options = replace(options, styles=True)
    sections = _sections(result, location, fancy=options.unicode)
    return render_rich(sections, options, width) + "\n"


def _sections(
    result: ScoreResult, location: str, *, fancy: bool
) -> Iterator[RenderableType]:
    head = Text()
    verdict = result.verdict.upper() if result.verdict else "NO VERDICT"
    style = (
        "bold black on yellow"
        if result.harmful is None
        else VERDICT_STYLES[result.harmful]
    )
    head.append(f" {verdict} ", style=style)
    if location:
        head.append(f"  {printable(location)}", style="dim")
    yield head
    if result.score is not None:
        yield Padding(_score_scale(result, fancy=fancy), (1, 0, 0, 0))
    yield Padding(_fact_table([*score_facts(result)], style=""), (1, 0, 0, 0))
    if result.ranked_categories:
        yield Padding(_category_table(result, fancy=fancy), (1, 0, 0, 0))
    yield Padding(_fact_table([*provenance_facts(result)], style="dim"), (1, 0, 0, 0))


def _score_scale(result: ScoreResult, *, fancy: bool) -> Text:
    """Draw the score between the names of the classes, with the threshold marked."""
    assert result.score is not None
    cells = [("─" if fancy else "-")] * BAR_CELLS
    if result.threshold is not None:
        cells[_cell_index(display_position(result, result.threshold))] = (
            "┼" if fancy else "|"
        )
    at = _cell_index(display_position(result, result.score))
    cells[at] = "●" if fancy else "o"
    text = Text(f"{result.negative_class} ", style="dim")
    for index, cell in enumerate(cells):
        text.append(cell, style="bold" if index == at else "dim")
    return text.append(f" {result.positive_class}", style="dim")


def _cell_index(position: float) -> int:
    # The last cell holds 1.0 too, which would otherwise be one beyond the end.
    return min(BAR_CELLS - 1, int(position * BAR_CELLS))


def _category_table(result: ScoreResult, *, fancy: bool) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    likely = [
        s
        for s in result.ranked_categories
        # A flagged category decides, however small its number.
        if (s.score or 0) >= MIN_SHOWN_SCORE or s.flagged
    ]
    for category in likely:
        style = "bold red" if category.flagged else ""
        table.add_row(
            Text(category.code, style=style),
            Text(printable(category.name), style=style),
            Text(f"{category.score or 0.0:.3f}", style=style, justify="right"),
            Text(
                _bar(category, fancy=fancy), style="red" if category.flagged else "dim"
            ),
        )
    rest = len(result.ranked_categories) - len(likely)
    if rest:
        table.add_row(Text(""), Text(f"{rest} below {MIN_SHOWN_SCORE}", style="dim"))
    return table


def _bar(category: CategoryScore, *, fancy: bool) -> str:
    length = round(min(1.0, max(0.0, category.score or 0.0)) * BAR_CELLS)
    return ("━" if fancy else "=") * length


def _fact_table(facts: list[tuple[str, str]], style: str) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    # Folded and not cut: what a guard wrote is evidence, to its last word.
    table.add_column(overflow="fold")
    for name, text in facts:
        table.add_row(Text(name, style="dim"), Text(text, style=style))
    return table
