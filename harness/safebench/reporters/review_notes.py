"""What a reader must know of numbers with reviewed labels."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from .table import REVIEWED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .table import LeaderboardLine

    NameLines = Callable[[Sequence[LeaderboardLine], Sequence[LeaderboardLine]], str]

ALPHA = 0.05  # of the test whether errors were reviewed more often than the rest
_COUNTS = (("n_right", "right"), ("n_wrong", "wrong"), ("n_unclear", "unclear"))
_VOID = (
    ("n_changed", "of texts or labels that have changed since"),
    ("n_vanished", "of samples that are not in the results"),
    ("n_held_out", "of the calibration part"),
)


def review_notes(
    lines: Sequence[LeaderboardLine], name_lines: NameLines
) -> Iterator[str]:
    """Yield which labels were reviewed, how they were selected, and what is not used.

    `name_lines` returns the shortest names of some of all lines.
    """
    reviewed = [line for line in lines if line.review is not None]
    if not reviewed:
        return
    yield (
        f"{REVIEWED}: a wrong one is turned round, an unclear one leaves its sample "
        "out, all others count as right; thresholds and calibration stay those of the "
        "run"
    )
    by_set: dict[str, list[LeaderboardLine]] = defaultdict(list)
    for line in reviewed:
        by_set[line.dataset].append(line)
    for name, own in by_set.items():
        # of another run of the set some of the samples may be missing
        for facts in dict.fromkeys(_counts(line) for line in own):
            yield f"{name}: {facts}"
        yield from _selection(name, own, name_lines)


def _counts(line: LeaderboardLine) -> str:
    review = line.review or {}
    if "n_reviewed" not in review:
        return f"{review.get('marks', 0):,} labels have marks, which cannot be used"
    n = line.n + review["n_unclear"]
    said = ", ".join(f"{review[key]:,} {word}" for key, word in _COUNTS if review[key])
    text = f"{review['n_reviewed']:,} of {n:,} labels were reviewed"
    text += f" ({said})" if said else ""
    if review["n_disagree"]:
        text += f"; of {review['n_disagree']:,} of them reviewers disagree: unclear"
    void = [f"{review[key]:,} {why}" for key, why in _VOID if review[key]]
    return text + (f"; marks that are not used: {', '.join(void)}" if void else "")


def _selection(
    name: str, lines: Sequence[LeaderboardLine], name_lines: NameLines
) -> Iterator[str]:
    """Yield which shares of errors and of right decisions were reviewed.

    Labels that are only doubted where a guard errs can only improve its numbers.
    """
    by_shares: dict[tuple[int, ...], list[LeaderboardLine]] = defaultdict(list)
    for line in lines:
        if (shares := _shares(line.review or {})) is not None:
            by_shares[shares].append(line)
    for (errors, seen, others, others_seen), own in by_shares.items():
        where = name_lines(own, lines)
        text = (
            f"{name}{f' ({where})' if where else ''}: reviewed were "
            f"{_share(seen, errors)} of the errors and {_share(others_seen, others)} "
            "of the right decisions"
        )
        if _selected(errors, seen, others, others_seen):
            text += (
                ": marks where a guard errs can only improve its numbers, so these are "
                "too good; review a random part of all samples"
            )
        yield text


def _shares(review: Mapping[str, Any]) -> tuple[int, ...] | None:
    if review.get("errors") is None or not review["n_reviewed"]:
        return None
    names = ("errors", "errors_reviewed", "others", "others_reviewed")
    return tuple(review[name] for name in names)


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({part / whole:.0%})" if whole else "none"


def _selected(errors: int, seen: int, others: int, others_seen: int) -> bool:
    """Tell whether errors were reviewed more often than chance would have it."""
    from scipy.stats import fisher_exact

    table = [[seen, errors - seen], [others_seen, others - others_seen]]
    return bool(fisher_exact(table, alternative="greater").pvalue < ALPHA)
