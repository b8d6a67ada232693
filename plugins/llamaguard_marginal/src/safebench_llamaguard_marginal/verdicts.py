"""How a guard's verdicts are spelled: the grammar, its tokens, and an empty tree."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from safebench.engine.grammars import llama_guard
from safebench.evidence import VerdictTree

from .prompts import spoken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.engine.explore import Explorer
    from safebench.engine.grammar import Grammar

    from .loading import Guard


def verdict_grammar(guard: Guard, mode: Literal["strict", "lenient"]) -> Grammar:
    """Return the grammar of safe, or unsafe and labels, for this guard's policy."""
    grammar = llama_guard(spoken(guard.policy), mode=mode)
    openers = list(grammar.openers)
    if not _spells_exactly(guard):  # SentencePiece: a word may bring its own space
        openers.append(" ")
    if guard.layout.name == "instruct":
        openers += [opener for opener in ("\n", " ") if opener not in openers]
    return replace(grammar, openers=tuple(openers), codes=guard.policy.codes)


def speller(guard: Guard) -> Callable[[str], list[int]]:
    """Return how the tokenizer spells a text that continues an answer."""
    pieces, spell = guard.model.pieces, guard.encoder.spell
    if _spells_exactly(guard):
        return spell
    return lambda text: after_newline(pieces, spell, text)


def after_newline(
    pieces: Sequence[bytes], spell: Callable[[str], list[int]], text: str
) -> list[int]:
    """Spell a text with a tokenizer that puts a space before all that it is given.

    Within a line it does not: the text is spelled after a line feed, and its tokens are
    the last ones. Empty if no token starts where it does.
    """
    tokens, want = spell("\n" + text), text.encode()
    read, start = b"", len(tokens)
    while start and len(read) < len(want):
        start -= 1
        read = pieces[tokens[start]] + read
    return tokens[start:] if read == want else []


def _spells_exactly(guard: Guard) -> bool:
    pieces, tokens = guard.model.pieces, guard.encoder.spell("unsafe")
    return b"".join(pieces[token] for token in tokens) == b"unsafe"


def bare_trees(count: int, explorer: Explorer) -> VerdictTree:
    """Return `count` trees of a root alone: what stands for a sample that failed."""
    import numpy as np

    drawn = explorer.options.mc_samples > 0
    nodes, ragged = {}, {"N": np.arange(count + 1)}
    for name, (_, dims) in VerdictTree.SCHEMA.items():
        if name in VerdictTree.OPTIONAL and not drawn:
            continue
        shape = (0, explorer.top) if "," in dims else 0
        nodes[name] = np.zeros(count if dims == "N" else shape)
        ragged.setdefault(dims[0], np.zeros(count + 1, dtype=np.int64))
    for name in ("parent", "token", "level", "label"):
        nodes[name] = np.full(count, -1)
    return VerdictTree(nodes, offsets=ragged, meta=explorer.meta)
