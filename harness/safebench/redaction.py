"""Secrets are hidden in whatever is stored beside results or printed in an error.

A run folder is made to be given away. A secret is known by the name before it, since
nothing in a value tells a token from any other text; the one exception is the password
in an address.
"""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "***"
# the last words of a name: "hf_token" is a secret, "max_new_tokens" is none
_NAMES = r"""(?:
    (?<!eos[_.-])(?<!bos[_.-])(?<!pad[_.-])(?<!unk[_.-])(?<!sep[_.-])
    (?<!cls[_.-])(?<!eot[_.-])(?<!mask[_.-])(?<!first[_.-])(?<!last[_.-])
    (?<!next[_.-])(?<!stop[_.-])(?<!special[_.-])(?<!image[_.-])
    token
  | (?:api|auth|access|refresh|bearer|hf)[_-]?tokens?
  | (?:api|access|secret|private|ssh|signing|encryption|subscription|account|auth)
    [_-]?keys?(?:[_-]?id)?
  | secrets? | passw(?:or)?ds? | passphrase | pwd | passwort
  | auth | authorization | authentication | credentials? | creds | bearer | jwt | cookie
)"""
_SECRET_NAME = re.compile(rf"(?<![^\W_]){_NAMES}$", re.VERBOSE | re.IGNORECASE)
_CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_FLAG = re.compile(r"--?(?P<name>[\w.-]+)")
# in the words of a command: key=value up to the comma, or all between quotes
_QUOTED_PAIR = re.compile(r'(?<=")(?P<name>[\w.-]+)(?P<sign>=)(?P<value>[^"]*)(?=")')
_PAIR = re.compile(r"(?<![\w.-])(?P<name>[\w.-]+)(?P<sign>=)(?P<value>[^,\"]*)")
# in prose: key=value, key: value, 'key': 'value', --key value
_PROSE_PAIR = re.compile(
    r"""(?<![\w.-])(?P<name>[\w.-]+)(?P<sign>["']?(?:\s*=\s*|:\s*)(?:Bearer\s+|Basic\s+)?)
    (?P<value>"[^"\n]*"|'[^'\n]*'|[^\s,;&'")\]}]+)""",
    re.VERBOSE | re.IGNORECASE,
)
_PROSE_FLAG = re.compile(
    r"""(?<!\S)--?(?P<name>[\w.-]+)(?P<sign>\s+)
    (?P<value>"[^"\n]*"|'[^'\n]*'|[^\s,;&'")]+)""",
    re.VERBOSE,
)
_ADDRESS = re.compile(r"(?<=://)([^/\s:@'\"]*):[^\s/'\"]*@")
_ADDRESS_TOKEN = re.compile(r"(?<=://)[^/\s:@'\"]{16,}@")


def is_secret(name: str) -> bool:
    """Tell whether a key, option or flag of this name holds a secret."""
    return bool(_SECRET_NAME.search(_CAMEL_CASE.sub("_", name)))


def redact_secrets(value: Any, key: str = "", *, in_text: bool = True) -> Any:
    """Return a configuration, or a command's words, without secrets.

    Without `in_text` only keys and addresses count, not ``key=value`` within a text:
    for what identifies a model, where two prompts must not become one.
    """
    # True says that there is one, as in token=True of the hub
    if value and value is not True and is_secret(key):
        return HIDDEN
    if isinstance(value, dict):
        return {k: redact_secrets(v, str(k), in_text=in_text) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        if in_text:
            return _redact_words(value)
        return [redact_secrets(v, in_text=False) for v in value]
    if not isinstance(value, str):
        return value
    if in_text:
        value = _hide(_PAIR, _hide(_QUOTED_PAIR, value))
    return redact_addresses(value)


def _redact_words(words: list[Any] | tuple[Any, ...]) -> list[Any]:
    """Redact a list; after a flag such as ``--token``, the next word is the secret."""
    redacted: list[Any] = []
    hide_next = False
    for word in words:
        redacted.append(HIDDEN if hide_next else redact_secrets(word))
        flag = _FLAG.fullmatch(word) if isinstance(word, str) else None
        hide_next = bool(flag and is_secret(flag["name"]))
    return redacted


def redact_text(text: str) -> str:
    """Return prose, such as an error of a library, without the secrets in it."""
    return redact_addresses(_hide(_PROSE_FLAG, _hide(_PROSE_PAIR, text)))


def _hide(pattern: re.Pattern[str], text: str) -> str:
    """Hide the value of each match of `pattern` whose name is that of a secret."""

    def replace(match: re.Match[str]) -> str:
        name, sign, value = match["name"], match["sign"], match["value"]
        before = match[0][: -len(value)] if value else match[0]
        # "no such token: x" is about the words of a model
        in_a_sentence = name.casefold() == "token" and sign.startswith(":")
        if not is_secret(name) or in_a_sentence:
            return before + _hide(pattern, value)
        quote = value[:1] if value[:1] in ("'", '"') else ""
        return f"{before}{quote}{HIDDEN}{quote}"

    return pattern.sub(replace, text)


def redact_addresses(text: str) -> str:
    """Hide the password of ``https://user:password@host``, or a token before the @."""
    text = _ADDRESS.sub(rf"\1:{HIDDEN}@", text)
    return _ADDRESS_TOKEN.sub(f"{HIDDEN}@", text)
