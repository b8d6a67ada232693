"""Tables of who agrees with whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .parting import dissent_sections
from .section import Section, number, percent
from .visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .agreement import Agreement
    from .members import Members

_MATRIX = 8  # voters that fit a matrix


def members_sections(
    members: Members, top: int, *, listed: bool = True
) -> Iterator[Section]:
    """Yield how the members agree, how they vote, and where they part.

    `listed` adds single samples.
    """
    found = members.agreement
    yield from agreement_sections(found, top)
    title = f"{found.title} on {visible(found.dataset)}"
    yield _tally(members, title)
    yield from dissent_sections(members.dissent, found, title, top, listed=listed)


def _tally(members: Members, title: str) -> Section:
    count = len(members.agreement.names)
    rows = []
    for k, (n, positive) in enumerate(
        zip(members.tally.tolist(), members.positive.tolist(), strict=True)
    ):
        wrong = (
            "-" if 2 * k == count else str(n - positive if 2 * k > count else positive)
        )
        rows.append(
            (
                f"{k} of {count}",
                str(n),
                percent(n / members.agreement.n),
                percent(positive / n if n else None),
                wrong,
            )
        )
    errors, unanimous = members.dissent.errors, members.dissent.unanimous
    note = (
        f"{unanimous} of {errors} wrong majorities are unanimous "
        f"({percent(unanimous / errors)}): no disagreement of members can find them"
        if errors
        else "the majority is never wrong"
    )
    return Section(
        title=f"{title}: how many say positive",
        headers=("members", "n", "share", "really positive", "majority wrong"),
        rows=tuple(rows),
        notes=(note,),
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
