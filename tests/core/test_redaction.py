"""What a run folder says of itself holds no secret, and hides nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from safebench.provenance import redact_secrets


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"hf_token": "abc"}, {"hf_token": "***"}),
        ({"set": {"api.api_key": "k"}}, {"set": {"api.api_key": "***"}}),
        (
            {"max_new_tokens": 20, "password": ""},
            {"max_new_tokens": 20, "password": ""},
        ),
        (["run", "--set", "api.token=abc"], ["run", "--set", "api.token=***"]),
        (["-c", "api,api_key=abc,n=1"], ["-c", "api,api_key=***,n=1"]),
        ({"eostoken": "</s>"}, {"eostoken": "</s>"}),
        (["--set", "batch_tokens=9"], ["--set", "batch_tokens=9"]),
    ],
)
def test_secrets_are_hidden_by_name(value: Any, expected: Any) -> None:
    """A token is a secret, a number of tokens is not; in mappings and in commands."""
    assert expected == redact_secrets(value)
