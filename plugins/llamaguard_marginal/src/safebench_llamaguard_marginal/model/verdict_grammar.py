"""The verdicts that a guard can write: grammar, tokens, and the opener of a draft.

An opener is what may come before the level of a verdict: nothing, spaces, line feeds.
After the likeliest one the canonical verdicts are read along with the prompt, as a
draft, which saves the passes of the first tree levels.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from safebench.errors import OptionError
from safebench.records import Turn
from safebench.verdict_tree import ENGINE_VERSION
from safebench_llamaguard_marginal.profile.answer import answer_grammar
from safebench_llamaguard_marginal.prompt.chat_template import PromptError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.verdict_tree import Grammar, Vocabulary
    from safebench_llamaguard_marginal.engines.served_guard import ServedGuard

    from .loading import LoadedGuard


def verdict_grammar(
    guard: LoadedGuard | ServedGuard,
    mode: Literal["strict", "lenient"],
    *,
    ignore_case: bool = False,
    role: str = "user",
    engine: int = ENGINE_VERSION,
) -> Grammar:
    """Return the grammar of what the guard answers where a turn of `role` is judged.

    Up to `engine` 2 strict levels were read inside of longer words.
    """
    grammar = answer_grammar(
        guard.profile.answers[role],
        guard.policy,
        variants=guard.profile.data.positive,
        mode=mode,
        ignore_case=ignore_case,
        whole_words=engine > 2 or mode == "lenient",  # noqa: PLR2004 - see above
        where=f"profile {guard.profile.where}",
    )
    # SentencePiece: a word may bring its own space.
    if not _encodes_exactly(guard) and " " not in grammar.openers:
        grammar = replace(grammar, openers=(*grammar.openers, " "))
    return grammar


def continuation_encoder(
    guard: LoadedGuard | ServedGuard,
) -> Callable[[str], list[int]]:
    """Return what encodes a text that continues an answer."""
    token_bytes, encode = guard.model.token_bytes, guard.encoder.encode_text
    if _encodes_exactly(guard):
        return encode
    return lambda text: encode_after_newline(token_bytes, encode, text)


def encode_after_newline(
    token_bytes: Sequence[bytes], encode: Callable[[str], list[int]], text: str
) -> list[int]:
    """Encode a text with a tokenizer that puts a space before all that it is given.

    It does so at the start alone: the text is encoded after a line feed, and its tokens
    are the last ones. Empty if no token starts where the text does.
    """
    tokens, expected = encode("\n" + text), text.encode()
    suffix, start = b"", len(tokens)
    while start and len(suffix) < len(expected):
        start -= 1
        suffix = token_bytes[tokens[start]] + suffix
    return tokens[start:] if suffix == expected else []


def _encodes_exactly(guard: LoadedGuard | ServedGuard) -> bool:
    """Tell whether the tokenizer adds no space of its own."""
    tokens = guard.encoder.encode_text("unsafe")
    return b"".join(guard.model.token_bytes[token] for token in tokens) == b"unsafe"


def pick_draft_opener(
    requested: str, guard: LoadedGuard, vocabulary: Vocabulary, *, lean: bool = False
) -> str | None:
    r"""Return the opener that the option `draft` selects, None for no draft.

    "auto" is the likeliest opener where passes cost more than tokens: not on a CPU, but
    for `lean` trees, which need all of such a draft.
    With one row a node there is no mask to keep a draft's branches apart: None.
    Otherwise `requested` is an opener itself, with ``\n`` for a line feed; raises
    OptionError for one that the grammar does not have.
    """
    if requested == "off" or guard.model.tree_layout == "rows":
        return None
    if requested == "auto":
        # Measured with the embedded guard: on a CPU a draft saves no time, since half
        # of it follows an opener that hardly any verdict has. Lean trees have no such
        # half.
        saves = lean or guard.model.device.type != "cpu"
        return likeliest_opener(guard, vocabulary) if saves else None
    openers = vocabulary.automaton.grammar.openers
    opener = requested.replace("\\n", "\n")
    if opener not in openers:
        known = ", ".join(f"'{draft_option_value(o)}'" for o in openers)
        raise OptionError(
            f"llamaguard: draft='{draft_option_value(requested)}' is no opener of a "
            "verdict\n"
            f"  there is: {known}, off, auto"
        )
    return opener


def draft_option_value(opener: str | None) -> str:
    r"""Return an opener as the option `draft` takes it: ``\n`` for a line feed."""
    return "off" if opener is None else opener.replace("\n", "\\n")


def likeliest_opener(guard: LoadedGuard, vocabulary: Vocabulary) -> str | None:
    """Return how the guard begins its verdict on a short prompt: one pass.

    None where the guard's template refuses the prompt, or no opener can be encoded.
    """
    try:
        prompt = guard.prompt_format.render([Turn("user", "Hello.")])
        ids = guard.encoder.encode(prompt).ids
    except PromptError:
        return None
    logits: Any = guard.model.open([ids]).root_logits()[0]
    best = {
        opener: max(float(logits[token]) for token in tokens)
        for opener, tokens in _first_tokens(vocabulary).items()
    }
    return max(best, key=lambda opener: best[opener], default=None)


def _first_tokens(vocabulary: Vocabulary) -> dict[str, list[int]]:
    """Return the tokens with which each opener, and the level behind it, may begin."""
    grammar = vocabulary.automaton.grammar
    levels = [level.surface_form for level in grammar.levels]
    tokens: dict[str, list[int]] = {}
    for opener in grammar.openers:
        with suppress(OptionError):  # this tokenizer cannot write it
            tokens[opener] = [vocabulary.encode(opener + level)[0] for level in levels]
    return tokens
