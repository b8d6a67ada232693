"""An answer as plain text: for pipes and files, one fact a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.reporters.text import printable

from .scale import describe, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .answer import Answer, Share


def lines(answer: Answer, where: str = "") -> Iterator[str]:
    """Yield the lines of an answer: verdict, numbers, categories, then who and how."""
    if where:
        yield _line("input", printable(where))
    yield _line("verdict", answer.verdict or "none")
    yield from (_line(*fact) for fact in facts(answer))
    if answer.ranked:
        yield "categories"
        width = max(len(share.name) for share in answer.ranked)
        yield from (f"  {category(share, width)}" for share in answer.ranked)
    yield from (_line(*fact) for fact in circumstances(answer))


def facts(answer: Answer) -> Iterator[tuple[str, str]]:
    """Yield the numbers of an answer, each with its name."""
    if answer.score is not None:
        yield "score", f"{number(answer.score)} ({describe(answer)})"
    if answer.lower is not None and answer.upper is not None:
        ends = number(answer.lower), number(answer.upper)
        exact = ends[0] == ends[1]
        yield "bounds", "exact to 4 digits" if exact else " to ".join(ends)
    if answer.cost is not None:
        yield "cost", f"{number(answer.cost)} (below 0 is safe)"
    if answer.uncertainty is not None:
        low, high = answer.uncertainty_lower, answer.uncertainty_upper
        bounds = ""
        if low is not None and high is not None:
            bounds = f" ({number(low)} to {number(high)})"
        yield "uncertainty", number(answer.uncertainty) + bounds


def category(share: Share, width: int) -> str:
    """Return one category with its score, bounds and decision."""
    assert share.score is not None, share
    text = f"{share.code:<4} {share.name:<{width}}  {share.score:7.4f}"
    if share.lower is not None and share.upper is not None:
        text += f"  {share.lower:.4f} to {share.upper:.4f}"
    return text + ("  flagged" if share.flagged else "")


def circumstances(answer: Answer) -> Iterator[tuple[str, str]]:
    """Yield who judged what, how long it took, and what to know about it."""
    if answer.raw is not None:
        yield "written", printable(answer.raw) or "(nothing)"
    yield "task", answer.task
    yield "classifier", printable(answer.classifier)
    yield "strategy", printable(answer.strategy)
    yield "model", printable(answer.model)
    if answer.policy:
        yield "policy", printable(answer.policy)
    loading = f" (after {answer.loading:.1f} to load)" if answer.loading else ""
    yield "seconds", f"{answer.seconds:.3f}{loading}"
    if answer.error:
        yield "error", printable(answer.error)
    for note in answer.notes:
        yield "note", printable(note)


def _line(name: str, text: str) -> str:
    return f"{name:<12} {text}"
