"""Compare what was read of a public set with what its card says.

Two people who compare numbers on a set must have read the same rows: another number of
rows, or a branch that may move, is said, and with ``--strict-data`` refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from safebench.errors import DataError, OptionError

if TYPE_CHECKING:
    from .request import DatasetRequest, LoadReport

LOCAL = "local:"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def check_expectations(request: DatasetRequest, report: LoadReport) -> None:
    """Note what differs from the card; raise `DataError` for it if asked to be strict.

    Sets without a card (files, sets of the user) have nothing to be compared with.
    """
    problem = _rows_problem(request, report)
    if not problem:
        return
    if request.strict:
        raise DataError(f"{problem} (--strict-data takes no other number of rows)")
    report.notes.append(problem)


def require_revision(request: DatasetRequest) -> None:
    """Raise `OptionError` if strict data would be read from a branch that may move.

    Called before anything is downloaded. Local copies are known by their fingerprint.
    """
    spec = request.spec
    if not request.strict or request.data_root is not None:
        return
    if not (spec.hub_id or spec.name == "hub"):
        return
    pinned = None if request.source else spec.revision
    revision = request.revision or pinned or "main"
    if not _COMMIT.fullmatch(revision):
        raise OptionError(
            f"{request.name}: --strict-data reads a commit, and {revision!r} of "
            f"{request.source or spec.hub_id} may move: name one with --revision "
            f"{request.name}=COMMIT"
        )


def _rows_problem(request: DatasetRequest, report: LoadReport) -> str:
    card = request.spec.card
    expected = card.rows.get(request.split) if card else None
    # a config of the user's may hold other rows than the catalog's
    if expected is None or request.config or report.rows_read == expected:
        return ""
    local = report.revision.startswith(LOCAL)
    what = "a part of the set" if report.rows_read < expected else "another version"
    return (
        f"{request.label}: {report.rows_read:,} rows are read where the set has "
        f"{expected:,}: {'this copy is' if local else 'the hub now holds'} {what}, so "
        "that numbers of others do not compare"
    )
