"""Tables of who agrees with whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .section import Section, number, percent
from .visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .agreement import Agreement
    from .members import Members

_MATRIX = 8  # voters that fit a matrix


def members_sections(members: Members, top: int) -> Iterator[Section]:
    """Yield how the members agree, and how many of them say positive."""
    found = members.agreement
    yield from agreement_sections(found, top)
    count = len(found.names)
    yield Section(
        title=f"{found.title} on {found.dataset}: how many say positive",
        headers=("members", "n", "share", "really positive"),
        rows=tuple(
            (
                f"{k} of {count}",
                str(n),
                percent(n / found.n),
                percent(positive / n if n else None),
            )
            for k, (n, positive) in enumerate(
                zip(members.tally.tolist(), members.positive.tolist(), strict=True)
            )
        ),
    )


def agreement_sections(found: Agreement, top: int) -> Iterator[Section]:
    """Yield a matrix of kappas where it fits, then the `top` pairs that differ most."""
    title = f"Agreement of {found.title} on {visible(found.dataset)}"
    note = (
        f"{len(found.names)} voters, {found.n} samples: unanimous on "
        f"{percent(found.unanimous)}, a pair differs on "
        f"{percent(found.mean_difference)}, Fleiss' kappa {number(found.fleiss)}"
    )
    names = tuple(map(visible, found.names))
    if len(names) <= _MATRIX:
        places = [str(place) for place in range(1, len(names) + 1)]
        matrix = tuple(
            (f"{place} {name}", percent(flagged), number(accuracy), *map(number, row))
            for place, name, flagged, accuracy, row in zip(
                places,
                names,
                found.flagged,
                found.accuracy,
                found.kappa.tolist(),
                strict=True,
            )
        )
        yield Section(
            title=f"{title} (Cohen's kappa)",
            headers=("voter", "flagged", "accuracy", *places),
            rows=matrix,
            notes=(note,),
        )
        note = ""
    differing = [pair for pair in found.pairs if pair.differ > 0][:top]
    yield Section(
        title=f"{title}: pairs that differ most",
        headers=("a", "b", "differ", "kappa", "only a right", "only b right")
        if differing
        else (),
        rows=tuple(
            (
                visible(pair.a),
                visible(pair.b),
                percent(pair.differ),
                number(pair.kappa),
                str(pair.a_right),
                str(pair.b_right),
            )
            for pair in differing
        ),
        left=2,
        notes=tuple(filter(None, (note, "" if differing else "no pair ever differs"))),
    )
