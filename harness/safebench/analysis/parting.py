"""Tables of where the members of an ensemble part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .section import TEXT_LIMIT, Section, number, percent, whole
from .visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .agreement import Agreement
    from .dissent import Dissent, Voted

MOST = 8  # members that get a column each


def dissent_sections(
    found: Dissent, agreement: Agreement, title: str, top: int, *, listed: bool
) -> Iterator[Section]:
    """Yield who is against the majority, on which slices, and on which samples."""
    yield _against(found, agreement, title)
    if found.places:
        yield _places(found, agreement, title, top)
    if not listed:
        return
    members = len(agreement.names)
    if found.alike:
        yield _samples(f"{title}: wrong alike, the surest first", found.alike, members)
    if found.split:
        yield _samples(f"{title}: most divided", found.split, members)


def _against(found: Dissent, agreement: Agreement, title: str) -> Section:
    rows = zip(agreement.names, found.against, found.then_right, strict=True)
    return Section(
        title=f"{title}: one against the majority",
        headers=("member", "against", "of samples", "then right", "of these"),
        rows=tuple(
            (
                f"{place} {visible(name)}",
                str(against),
                percent(against / agreement.n),
                str(right),
                percent(right / against if against else None),
            )
            for place, (name, against, right) in enumerate(rows, start=1)
        ),
    )


def _places(found: Dissent, agreement: Agreement, title: str, top: int) -> Section:
    """Return slices, the most divided first; a column a member if they are few."""
    count = len(agreement.names)
    columns = count if count <= MOST else 0
    numbers = [str(place) for place in range(1, columns + 1)]
    told = f"; 1 to {columns}: how often that member is against the majority"
    return Section(
        title=f"{title}: slices on which they differ most",
        headers=("slice", "n", "differ", "accuracy", *numbers),
        rows=tuple(
            (
                f"{visible(where.column)}: {visible(where.value, 60)}",
                str(where.n),
                percent(where.differ),
                number(where.accuracy),
                *map(whole, where.against[:columns].tolist()),
            )
            for where in found.places[:top]
        ),
        notes=(
            "differ: how often two members do, on all samples "
            f"{percent(agreement.mean_difference)}; accuracy: the majority's"
            + (told if columns else ""),
        ),
    )


def _samples(title: str, found: Sequence[Voted], members: int) -> Section:
    words = {True: "positive", False: "negative"}
    text = any(voted.text is not None for voted in found)
    headers = ("id", "label", "positive by", *(("text",) if text else ()))
    return Section(
        title=title,
        headers=(*headers, "mean P", "spread"),
        rows=tuple(
            (
                visible(voted.id),
                words[voted.label],
                _voters(voted.yes, members),
                *((visible(voted.text or "", TEXT_LIMIT),) if text else ()),
                number(voted.mean),
                number(voted.spread),
            )
            for voted in found
        ),
        left=len(headers),
    )


def _voters(yes: Sequence[int], members: int) -> str:
    """Return who says positive: all, none, or their numbers."""
    if not yes:
        return "none"
    if len(yes) == members:
        return "all"
    return " ".join(str(place + 1) for place in yes)
