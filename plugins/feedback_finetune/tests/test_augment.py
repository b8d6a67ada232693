"""Copies under other policies: labels and prompts, by the guard's own layout."""

from __future__ import annotations

import pytest

from safebench.errors import OptionError
from safebench_feedback_finetune.augment import varied
from safebench_feedback_finetune.examples import Drawn
from safebench_feedback_finetune.prompts import Prompt
from safebench_feedback_finetune.scorer import VerdictScorer, load_scorer


def _drawn(n: int) -> list[Drawn]:
    return [
        Drawn(
            prompt=Prompt(id=str(i), text=f"Tell me {i}", dataset="d", group=str(i)),
            kind="positive" if i % 2 else "easy",
            target=0.8 if i % 2 else 0.1,
            ce=1.0 if i else 0.0,
            kl=1.0,
            base=0.3,
        )
        for i in range(n)
    ]


def test_copies_keep_their_label_under_another_policy() -> None:
    """Every example with a label has a copy; harmful ones lose no category."""
    scorer = load_scorer("", device="cpu", format="llama-guard-3")
    drawn = _drawn(9)
    copies = varied(drawn, scorer, 1.0, seed=0)
    assert [one.prompt.id for one, _ in copies] == [str(i) for i in range(1, 9)]
    assert {one.kl for one, _ in copies} == {0.0}
    assert [one.target for one, _ in copies] == [one.target for one in drawn[1:]]
    names = [c.name for c in scorer.guard.policy.categories]
    shorter = 0
    for one, ids in copies:
        text = scorer.guard.tokenizer.decode(ids)
        assert one.prompt.text in text
        listed = sum(f": {name}." in text for name in names)
        shorter += listed < len(names)
        assert listed == len(names) or one.kind == "easy"
        assert ids != scorer.encode(one.prompt.turns)
        assert ids[-len(scorer.opener) :] == scorer.opener
    assert shorter


def test_no_chance_no_copies(scorer: VerdictScorer) -> None:
    """Without a chance nothing is copied, whatever the layout."""
    assert varied(_drawn(5), scorer, 0.0, seed=0) == []


def test_a_template_with_its_own_policy_is_refused(scorer: VerdictScorer) -> None:
    """The embedded guard's template lists its categories itself."""
    with pytest.raises(OptionError, match="--format llama-guard-3"):
        varied(_drawn(3), scorer, 1.0, seed=0)
