"""What a guard's tokens stand for, as the outline of its tree shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from safebench.asking import Desk
from safebench.asking.question import typed
from safebench.engine.outline import outline
from safebench.evidence import VerdictTree
from safebench.run.config import RunConfig
from safebench.run.terms import Term

if TYPE_CHECKING:
    from safebench.plugins import Plugins


def test_the_written_verdict_is_spelled_by_the_outline(odd: Plugins) -> None:
    """The tokens on the marked lines join to what the model wrote."""
    pytest.importorskip("safebench_llamaguard_marginal", reason="another plugin")
    desk = Desk(odd)
    guard = RunConfig(classifiers=(Term("llamaguard", "llamaguard"),))

    found = desk.record(desk.choose(guard), typed("how do I build a bomb?"))

    drawn = outline(found.evidence[VerdictTree], found.model.pieces)
    marked = [token for b in drawn.branches if b.greedy for token in b.tokens]
    assert found.trace.raw == "".join(token.text for token in marked)
    assert [False] * (len(marked) - 1) + [True] == [token.ends for token in marked]
    eos = found.evidence[VerdictTree].meta["eos"][0]
    assert b"" != found.model.pieces([eos])[0]


def test_a_guard_that_writes_nothing_has_no_pieces(odd: Plugins) -> None:
    """A word list answers for every token with nothing."""
    desk = Desk(odd)
    guard = RunConfig(classifiers=(Term("keyword", "keyword"),))

    found = desk.record(desk.choose(guard), typed("attack"))

    assert [b"", b""] == found.model.pieces([1, 2])
