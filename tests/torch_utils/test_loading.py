"""What fails to load is told in one line that still says why."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="these modules run torch")

from safebench.errors import ModelError
from safebench.torch_utils.loading import model_load_errors


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (OSError("no file\nmore of it"), "no file"),
        (RuntimeError("Errors in loading:\n\tsize mismatch\nmore"), "size mismatch"),
        (KeyError(), "KeyError"),
    ],
)
def test_the_reason_is_not_cut_off(raised: Exception, expected: str) -> None:
    """A first line that ends in a colon takes the next one with it."""
    with pytest.raises(ModelError) as caught, model_load_errors("mine"):
        raise raised

    assert caught.value.message.startswith("model 'mine' cannot be loaded: ")
    assert caught.value.message.endswith(expected)
