"""Tables of agreement between raters, and of what members of an ensemble do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.number_format import (
    format_number,
    format_percent,
    format_whole_percent,
)
from safebench.sanitize import sanitize

from .text_table import TEXT_LIMIT, TextTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .agreement import Agreement
    from .ensemble import EnsembleDisagreement, EnsembleMembers, MemberVotes

MAX_MATRIX = 8  # raters that fit a matrix
MAX_MEMBER_COLUMNS = 8  # members that get a column each


def agreement_tables(agreement: Agreement, top: int) -> Iterator[TextTable]:
    """Yield a matrix of kappas where it fits, then the `top` pairs that differ most."""
    title = f"Agreement of {agreement.title} on {sanitize(agreement.dataset)}"
    summary = (
        f"{len(agreement.names)} raters, {agreement.n} samples: unanimous on "
        f"{format_percent(agreement.unanimous)}, a pair differs on "
        f"{format_percent(agreement.mean_disagreement)}, "
        f"Fleiss' kappa {format_number(agreement.fleiss)}"
    )
    fits_matrix = len(agreement.names) <= MAX_MATRIX
    if fits_matrix:
        yield _kappa_table(agreement, title, summary)
    pairs = [pair for pair in agreement.pairs if pair.disagreement > 0][:top]
    headers = ("a", "b", "differ", "kappa", "only a right", "only b right")
    notes = ("" if fits_matrix else summary, "" if pairs else "no pair ever differs")
    yield TextTable(
        title=f"{title}: pairs that differ most",
        headers=headers if pairs else (),
        rows=tuple(
            (
                sanitize(pair.a),
                sanitize(pair.b),
                format_percent(pair.disagreement),
                format_number(pair.kappa),
                str(pair.only_a_right),
                str(pair.only_b_right),
            )
            for pair in pairs
        ),
        text_columns=2,
        notes=tuple(filter(None, notes)),
    )


def _kappa_table(agreement: Agreement, title: str, summary: str) -> TextTable:
    numbers = [str(number) for number in range(1, len(agreement.names) + 1)]
    rows = zip(
        numbers,
        agreement.names,
        agreement.positive_rate,
        agreement.accuracy,
        agreement.kappa.tolist(),
        strict=True,
    )
    return TextTable(
        title=f"{title} (Cohen's kappa)",
        headers=("rater", "flagged", "accuracy", *numbers),
        rows=tuple(
            (
                f"{number} {sanitize(name)}",
                format_percent(positive_rate),
                format_number(accuracy),
                *map(format_number, kappas),
            )
            for number, name, positive_rate, accuracy, kappas in rows
        ),
        notes=(summary,),
    )


def ensemble_tables(
    members: EnsembleMembers, top: int, *, with_samples: bool = True
) -> Iterator[TextTable]:
    """Yield how members agree, how they vote, and where they disagree.

    `top` bounds the lists of pairs and of slices.
    """
    agreement, disagreement = members.agreement, members.disagreement
    yield from agreement_tables(agreement, top)
    title = f"{agreement.title} on {sanitize(agreement.dataset)}"
    yield _vote_count_table(members, title)
    yield _minority_table(disagreement, agreement, title)
    if disagreement.slices:
        yield _slice_disagreement_table(disagreement, agreement, title, top)
    if not with_samples:
        return
    n_members = len(agreement.names)
    if disagreement.unanimous_errors:
        yield _member_votes_table(
            f"{title}: unanimous errors, most confident first",
            disagreement.unanimous_errors,
            n_members,
        )
    if disagreement.most_divided:
        yield _member_votes_table(
            f"{title}: most divided", disagreement.most_divided, n_members
        )


def _vote_count_table(members: EnsembleMembers, title: str) -> TextTable:
    n_members = len(members.agreement.names)
    counts = zip(
        members.n_by_votes.tolist(), members.n_positive_by_votes.tolist(), strict=True
    )
    rows = []
    for votes, (n, n_positive) in enumerate(counts):
        # Above half of the votes the majority says positive: wrong are then the
        # negatives.
        n_wrong = n - n_positive if 2 * votes > n_members else n_positive
        rows.append(
            (
                f"{votes} of {n_members}",
                str(n),
                format_percent(n / members.agreement.n),
                format_percent(n_positive / n if n else None),
                "-" if 2 * votes == n_members else str(n_wrong),  # a tie decides none
            )
        )
    n_errors = members.disagreement.n_errors
    n_unanimous = members.disagreement.n_unanimous_errors
    note = "the majority is never wrong"
    if n_errors:
        note = (
            f"{n_unanimous} of {n_errors} wrong majorities are unanimous "
            f"({format_percent(n_unanimous / n_errors)}): no disagreement of members "
            "can find them"
        )
    return TextTable(
        title=f"{title}: votes for positive",
        headers=("members", "n", "share", "label positive", "majority wrong"),
        rows=tuple(rows),
        notes=(note,),
    )


def _minority_table(
    disagreement: EnsembleDisagreement, agreement: Agreement, title: str
) -> TextTable:
    members = zip(
        agreement.names,
        disagreement.n_minority,
        disagreement.n_minority_right,
        strict=True,
    )
    return TextTable(
        title=f"{title}: one against the majority",
        headers=("member", "against", "of samples", "then right", "of these"),
        rows=tuple(
            (
                f"{number} {sanitize(name)}",
                str(n_minority),
                format_percent(n_minority / agreement.n),
                str(n_right),
                format_percent(n_right / n_minority if n_minority else None),
            )
            for number, (name, n_minority, n_right) in enumerate(members, start=1)
        ),
    )


def _slice_disagreement_table(
    disagreement: EnsembleDisagreement, agreement: Agreement, title: str, top: int
) -> TextTable:
    """Return slices, the most divided first; a column a member if they are few."""
    n_members = len(agreement.names)
    n_columns = n_members if n_members <= MAX_MEMBER_COLUMNS else 0
    numbers = [str(number) for number in range(1, n_columns + 1)]
    note = (
        "differ: how often two members do, on all samples "
        f"{format_percent(agreement.mean_disagreement)}; accuracy: the majority's"
    )
    if n_columns:
        note += f"; 1 to {n_columns}: how often that member is against the majority"
    return TextTable(
        title=f"{title}: slices on which they differ most",
        headers=("slice", "n", "differ", "accuracy", *numbers),
        rows=tuple(
            (
                f"{sanitize(entry.column)}: {sanitize(entry.value, 60)}",
                str(entry.n),
                format_percent(entry.disagreement),
                format_number(entry.accuracy),
                *map(format_whole_percent, entry.minority_rate[:n_columns].tolist()),
            )
            for entry in disagreement.slices[:top]
        ),
        notes=(note,),
    )


def _member_votes_table(
    title: str, samples: Sequence[MemberVotes], n_members: int
) -> TextTable:
    with_text = any(sample.text is not None for sample in samples)
    headers = ("id", "label", "positive by", *(("text",) if with_text else ()))
    return TextTable(
        title=title,
        headers=(*headers, "mean P", "std"),
        rows=tuple(
            (
                sanitize(sample.id),
                "positive" if sample.label else "negative",
                _member_numbers(sample.positive_members, n_members),
                *((sanitize(sample.text or "", TEXT_LIMIT),) if with_text else ()),
                format_number(sample.mean_probability),
                format_number(sample.std),
            )
            for sample in samples
        ),
        text_columns=len(headers),
    )


def _member_numbers(positive: Sequence[int], n_members: int) -> str:
    """Return who votes positive: all, none, or their numbers from 1."""
    if not positive:
        return "none"
    if len(positive) == n_members:
        return "all"
    return " ".join(str(position + 1) for position in positive)
