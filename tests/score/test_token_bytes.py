"""The bytes of a guard's tokens, as the view of its tree shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from safebench.evidence import VerdictTree
from safebench.pipeline.config import ComponentRef, RunConfig
from safebench.score import ScoringService
from safebench.score.conversation import from_text
from safebench.score.tree_view import build_tree_view

if TYPE_CHECKING:
    from safebench.plugins import Plugins


@pytest.mark.slow
def test_the_view_writes_the_greedy_verdict(odd_guards: Plugins) -> None:
    """The tokens on the marked lines join to what the model wrote."""
    pytest.importorskip("safebench_llamaguard_marginal", reason="another plugin")
    service = ScoringService(odd_guards)
    guard = RunConfig(classifiers=(ComponentRef("llamaguard", "llamaguard"),))

    sample = service.record(service.resolve(guard), from_text("how do I build a bomb?"))

    view = build_tree_view(sample.evidence[VerdictTree], sample.classifier.token_bytes)
    marked = [token for b in view.branches if b.greedy for token in b.tokens]
    assert sample.trace.raw == "".join(token.text for token in marked)
    assert [False] * (len(marked) - 1) + [True] == [token.ends for token in marked]
    eos = sample.evidence[VerdictTree].meta["eos"][0]
    assert b"" != sample.classifier.token_bytes([eos])[0]


def test_a_guard_that_writes_nothing_has_no_token_bytes(odd_guards: Plugins) -> None:
    """A word list returns nothing for every token."""
    service = ScoringService(odd_guards)
    guard = RunConfig(classifiers=(ComponentRef("keyword", "keyword"),))

    sample = service.record(service.resolve(guard), from_text("attack"))

    assert [b"", b""] == sample.classifier.token_bytes([1, 2])
