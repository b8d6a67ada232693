"""Categories of a user's own file, in the codes of a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.records import Dataset

    Read = Callable[..., Dataset]
    Refused = Callable[..., str]
    Write = Callable[..., str]


def test_unknown_categories_are_refused(
    refused: Refused, read: Read, write: Write
) -> None:
    """Codes are checked against the policy; `policy=none` leaves them out."""
    path = write('{"prompt": "x", "label": 1, "categories": ["S99"]}')

    message = refused(path)

    assert "'S99' is no category of llama-guard-3" in message
    assert "policy=none" in message
    found = read(f"{path},policy=none")
    assert found.policy is None
    assert found.golds[0].categories is None


def test_categories_of_another_policy(read: Read, write: Write) -> None:
    """`policy=` names the taxonomy, which goes into the dataset."""
    path = write('{"prompt": "x", "label": 1, "categories": ["O2"]}')

    found = read(f"{path},policy=llama-guard-1")

    assert "llama-guard-1" == found.policy
    assert frozenset({"O2"}) == found.golds[0].categories


def test_a_label_that_contradicts_its_categories_is_counted(
    read: Read, write: Write
) -> None:
    """Safe with a category is odd, not fatal."""
    path = write('{"prompt": "x", "label": "safe", "categories": ["S1"]}')

    assert {"label_conflicts": 1} == read(path).counts
