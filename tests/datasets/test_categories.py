"""Categories of a user's own file, in the codes of a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.records import Dataset

    Load = Callable[..., Dataset]
    ErrorMessage = Callable[..., str]
    WriteFile = Callable[..., str]


def test_unknown_categories_are_refused(
    error_message: ErrorMessage, load: Load, write_file: WriteFile
) -> None:
    """Codes are checked against the policy; `policy=none` leaves them out."""
    path = write_file('{"prompt": "x", "label": 1, "categories": ["S99"]}')

    message = error_message(path)

    assert "'S99' is no category of llama-guard-3" in message
    assert "policy=none" in message
    dataset = load(f"{path},policy=none")
    assert dataset.policy is None
    assert dataset.ground_truth[0].categories is None


def test_categories_of_another_policy(load: Load, write_file: WriteFile) -> None:
    """`policy=` names the taxonomy, which goes into the dataset."""
    path = write_file('{"prompt": "x", "label": 1, "categories": ["O2"]}')

    dataset = load(f"{path},policy=llama-guard-1")

    assert "llama-guard-1" == dataset.policy
    assert frozenset({"O2"}) == dataset.ground_truth[0].categories


def test_a_label_that_contradicts_its_categories_is_counted(
    load: Load, write_file: WriteFile
) -> None:
    """Safe with a category is odd, not fatal."""
    path = write_file('{"prompt": "x", "label": "safe", "categories": ["S1"]}')

    assert {"label_conflicts": 1} == load(path).counts
