"""A trie of byte strings, with the links that find all of them in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = 0


class Trie:
    """Byte strings with an integer value each; nodes are numbered, the root is 0.

    `children[node]` maps a byte to a node, `value[node]` is the value of the string
    that ends there (-1: none), `fallback[node]` that of the longest string that is a
    prefix of the node's text, `fail[node]` the node of the longest proper suffix.
    `text[node]` are the bytes that lead to it.
    """

    def __init__(self, entries: Iterable[tuple[bytes, int]]) -> None:
        self.children: list[dict[int, int]] = [{}]
        self.value = [-1]
        self.text = [b""]
        self.fallback: list[int] = []
        self.fail = [ROOT]
        for text, value in entries:
            self._insert(text, value)
        self._link()

    def find(self, text: bytes) -> int:
        """Return the node that `text` leads to, -1 if the trie does not hold it."""
        node = ROOT
        for byte in text:
            node = self.children[node].get(byte, -1)
            if node < 0:
                return -1
        return node

    def _insert(self, text: bytes, value: int) -> None:
        node = ROOT
        for byte in text:
            if byte not in self.children[node]:
                self.children[node][byte] = len(self.children)
                self.children.append({})
                self.value.append(-1)
                self.text.append(self.text[node] + bytes([byte]))
            node = self.children[node][byte]
        self.value[node] = value

    def _link(self) -> None:
        """Fill `fallback` and `fail` breadth first (Aho and Corasick, 1975)."""
        self.fallback = list(self.value)
        self.fail = [ROOT] * len(self.children)
        queue = [ROOT]
        for node in queue:
            for byte, child in self.children[node].items():
                if self.value[child] < 0:
                    self.fallback[child] = self.fallback[node]
                if node != ROOT:
                    self.fail[child] = self._suffix(self.fail[node], byte)
                queue.append(child)

    def _suffix(self, node: int, byte: int) -> int:
        while node != ROOT and byte not in self.children[node]:
            node = self.fail[node]
        return self.children[node].get(byte, ROOT)
