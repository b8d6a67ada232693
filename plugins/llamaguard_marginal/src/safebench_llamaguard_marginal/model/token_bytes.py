"""The bytes that each token stands for.

Vocabularies spell tokens in two ways: byte-level ones map every byte to a printable
character, SentencePiece ones write a space as U+2581 and odd bytes as ``<0x0A>``.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
_SENTENCEPIECE_SPACE = "\u2581"


def token_bytes(tokenizer: Any, size: int) -> tuple[bytes, ...]:
    """Return the bytes of every id below `size`; special and unused ids are empty."""
    backend = tokenizer.backend_tokenizer
    added = backend.get_added_tokens_decoder()
    to_bytes = _byte_level_bytes if _is_byte_level(backend) else _sentencepiece_bytes
    by_id = [b""] * size
    for text, index in backend.get_vocab(with_added_tokens=False).items():
        if index < size:
            by_id[index] = to_bytes(text)
    # Added tokens are spelled literally; special ones must match no grammar.
    for index, token in added.items():
        if index < size:
            by_id[index] = b"" if token.special else token.content.encode()
    return tuple(by_id)


def _is_byte_level(backend: Any) -> bool:
    decoder = json.loads(backend.decoder.__getstate__()) if backend.decoder else {}
    decoders = decoder.get("decoders", [decoder])
    return any(part.get("type") == "ByteLevel" for part in decoders)


def _byte_level_bytes(text: str) -> bytes:
    known = _bytes_of_characters()
    if any(char not in known for char in text):  # a piece added after training
        return text.encode()
    return bytes(known[char] for char in text)


def _sentencepiece_bytes(text: str) -> bytes:
    if match := _BYTE_TOKEN.fullmatch(text):
        return bytes([int(match[1], 16)])
    return text.replace(_SENTENCEPIECE_SPACE, " ").encode()


@cache
def _bytes_of_characters() -> dict[str, int]:
    """Return the byte behind each character of a byte-level vocabulary.

    Printable Latin-1 characters stand for themselves; the other bytes, in order, take
    the characters from U+0100 on.
    """
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    table = {chr(byte): byte for byte in plain}
    return table | {chr(0x100 + i): byte for i, byte in enumerate(others)}
