"""Records: equal reading means equal content, and nothing leaks a label."""

from __future__ import annotations

from dataclasses import fields

import pytest

from safebench.records import GroundTruth, Label, Sample, Turn


def sample(*texts: str) -> Sample:
    """Build a conversation that alternates user and assistant."""
    roles = ("user", "assistant")
    turns = tuple(Turn(roles[i % 2], text) for i, text in enumerate(texts))
    return Sample(id="x", turns=turns)


@pytest.mark.parametrize(
    "variant", ["caf\u00e9 ?\n", "  cafe\u0301 ?", "caf\u00e9 ?\r\n"]
)
def test_content_ignores_unicode_form_outer_space_and_line_ends(variant: str) -> None:
    """What reads the same is the same."""
    assert sample("caf\u00e9 ?").content == sample(variant).content


def test_content_tells_roles_and_turn_borders_apart() -> None:
    """Moving text from one turn to the next is another conversation."""
    contents = {
        sample("a", "b").content,
        sample("ab").content,
        sample("a\n\nb").content,
        Sample(id="x", turns=(Turn("assistant", "ab"),)).content,
        Sample(id="x", turns=(Turn("user", "a\x1e4:user\x1fb"),)).content,
        Sample(id="x", turns=(Turn("user", "a"), Turn("user", "b"))).content,
    }

    assert 6 == len(contents)


def test_a_sample_has_no_place_for_a_label() -> None:
    """No field of a sample is a field of the truth, but the free-form `meta`."""
    truth = {f.name for kind in (GroundTruth, Label) for f in fields(kind)} - {"meta"}

    assert set() == truth & {f.name for f in fields(Sample)}
