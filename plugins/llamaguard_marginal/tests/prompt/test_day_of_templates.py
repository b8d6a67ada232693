"""Templates that print today's date print the same day, every day."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from safebench.records import Turn
from safebench_llamaguard_marginal.prompt.chat_template import (
    PromptError,
    apply_chat_template,
)
from safebench_llamaguard_marginal.testing import build_tokenizer

BODY = "{{ messages[0]['content'] }}"


def tokenizer(template: str) -> Any:
    """Return a tokenizer whose template is given."""
    return build_tokenizer(["a"], special=["</s>"], eos="</s>", template=template)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ('strftime_now("%B %d, %Y")', "March 09, 2024"),
        ("strftime_now('%d %b %Y')", "09 Mar 2024"),
        ('strftime_now( "%Y-%m-%d" )', "2024-03-09"),
    ],
)
def test_the_day_that_is_asked_for_is_printed(call: str, expected: str) -> None:
    """Whatever the form and the quotes; whether it is defined stays true."""
    template = f"{{% if strftime_now is defined %}}{{{{ {call} }}}}{{% endif %}}{BODY}"

    written = apply_chat_template(
        tokenizer(template), [Turn("user", "hi")], day=date(2024, 3, 9)
    )

    assert f"{expected}hi" == written


def test_a_form_that_is_computed_is_refused() -> None:
    """The prompt would change by the day, and stored evidence would not be found."""
    template = "{% set form = '%Y' %}{{ strftime_now(form) }}" + BODY

    with pytest.raises(PromptError, match="form in quotes"):
        apply_chat_template(tokenizer(template), [Turn("user", "hi")])
