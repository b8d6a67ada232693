"""What a run folder says of itself holds no secret, and hides nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from safebench.redaction import is_secret, redact_secrets, redact_text

SECRET_NAMES = [
    "token",
    "hf_token",
    "api.token",
    "secret",
    "client_secret",
    "password",
    "db_password",
    "passwd",
    "user-passwd",
    "pwd",
    "passphrase",
    "api_key",
    "api-key",
    "apikey",
    "apiKey",
    "X-API-Key",
    "access_key",
    "accessKey",
    "aws_access_key_id",
    "AWS_SECRET_ACCESS_KEY",
    "private_key",
    "auth",
    "basic_auth",
    "Authorization",
    "credentials",
    "credential",
    "access_tokens",
    "authToken",
    "hfToken",
    "dbPassword",
    "s3.secretKey",
    "bearer",
    "jwt",
    "cookie",
]
OTHER_NAMES = [
    "max_new_tokens",
    "tokens",
    "batch_tokens",
    "eos_token",
    "bos_token",
    "pad_token",
    "unk_token",
    "first_token",
    "additional_special_token",
    "eostoken",
    "token_count",
    "tokenizer",
    "author",
    "authors",
    "authority",
    "keyword",
    "key",
    "monkey",
    "passwords_file",
    "secretary",
    "passage",
    "credit_score",
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_secrets_are_known_by_name(name: str) -> None:
    """As a key of a mapping, a pair in a word, a flag, and in prose."""
    assert is_secret(name)
    assert {name: "***"} == redact_secrets({name: "S3CRET"})
    assert {"a": {name: "***"}} == redact_secrets({"a": {name: ["S3CRET", "x"]}})
    assert {name: "***"} == redact_secrets({name: {"value": "S3CRET"}})
    for words in (
        ["run", "--set", f"{name}=S3CRET with words"],
        ["run", "--set", f"guard.{name}=S3CRET"],
        ["run", "-c", f"guard,{name}=S3CRET,n=1"],
        ["run", "-c", f'guard,n=1,"{name}=S3CRET,S3CRET"'],
        ["run", f"--{name}=S3CRET"],
        ["run", f"--{name}", "S3CRET", "--n", "1"],
        ["run", f"-{name}", "S3CRET"],
    ):
        redacted = redact_secrets(words)
        assert "S3CRET" not in str(redacted), redacted
        assert len(words) == len(redacted)
    for text in (
        f"'{name}=S3CRET' is no option",
        f"classifier 'x', {name}='S3CRET' is not a number",
        f"got {{'{name}': 'S3CRET', 'n': 1}}",
        f'{{"{name}": "S3CRET"}}',
        f"401 for https://host/path?{name}=S3CRET&n=1",
        f"safebench run --{name} S3CRET failed",
    ):
        assert "S3CRET" not in redact_text(text)


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_what_is_no_secret_is_shown(name: str) -> None:
    """A number of tokens, a word of a model, a person."""
    assert not is_secret(name)
    assert {name: "shown"} == redact_secrets({name: "shown"})
    words = ["--set", f"{name}=shown", f"--{name}", "shown", "-c", f"g,{name}=shown"]
    assert words == redact_secrets(words)
    text = f"{name}=shown; {name}: shown; '{name}': 'shown'"
    assert text == redact_text(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://me:pw@host/x", "https://me:***@host/x"),
        ("ssh://me:p@w@host:22", "ssh://me:***@host:22"),
        ("https://:pw@host", "https://:***@host"),
        ("https://hf_0123456789abcdef@host/m", "https://***@host/m"),
        ("see https://host:80/a@b and git@host:x", None),
        ("https://git@host/x", None),
    ],
)
def test_passwords_in_addresses_are_hidden(text: str, expected: str | None) -> None:
    """Names and ports stay."""
    expected = expected or text
    assert expected == redact_text(text)
    assert {"model": expected} == redact_secrets({"model": text})
    assert {"model": expected} == redact_secrets({"model": text}, in_text=False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"password": ""}, {"password": ""}),
        ({"token": True, "secret": None}, {"token": True, "secret": None}),
        ({"password": 1234}, {"password": "***"}),
        (("a", {"api-key": "k"}), ["a", {"api-key": "***"}]),
        ({"eostoken": "</s>"}, {"eostoken": "</s>"}),
    ],
)
def test_empty_values_and_switches_stay(value: Any, expected: Any) -> None:
    """They say whether there is a secret, and not which."""
    assert expected == redact_secrets(value)


def test_texts_that_identify_a_model_are_not_rewritten() -> None:
    """Two prompts that differ after ``token=`` are two models."""
    prompts = {"a": "judge: token=one", "b": "judge: token=two"}

    assert prompts == redact_secrets(prompts, in_text=False)
    assert {"api_key": "***"} == redact_secrets({"api_key": "k"}, in_text=False)


def test_a_word_of_a_model_is_no_secret() -> None:
    """Errors about tokens stay readable."""
    text = "no such token: '<unsafe>'; the token is unknown"

    assert text == redact_text(text)
