"""Which opener a guard's verdicts are drafted after, if any."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from safebench.errors import OptionError
from safebench.records import Turn

from .prompts import PromptError

if TYPE_CHECKING:
    from safebench.engine.vocabulary import Vocabulary

    from .loading import Guard


def pick_draft(wanted: str, guard: Guard, vocabulary: Vocabulary) -> str | None:
    r"""Return the opener for the option `draft`, None for no draft.

    "auto" is the likeliest opener where passes cost more than tokens: not on a CPU.
    A row-by-row layout has no mask to keep a draft's branches apart: None. Otherwise
    `wanted` is an opener itself, with ``\n`` for a new line; raises OptionError for one
    that the grammar does not know.
    """
    if wanted == "off" or guard.model.layout == "rows":
        return None
    if wanted == "auto":
        on_cpu = guard.model.device.type == "cpu"
        return None if on_cpu else likeliest_opener(guard, vocabulary)
    openers = vocabulary.automaton.grammar.openers
    opener = wanted.replace("\\n", "\n")
    if opener not in openers:
        known = ", ".join(f"'{spelled(one)}'" for one in openers)
        raise OptionError(
            f"llamaguard: draft='{spelled(wanted)}' is no opener of a verdict\n"
            f"  there is: {known}, off, auto"
        )
    return opener


def spelled(opener: str | None) -> str:
    r"""Return an opener as the option spells it, with ``\n`` for a new line."""
    return "off" if opener is None else opener.replace("\n", "\\n")


def likeliest_opener(guard: Guard, vocabulary: Vocabulary) -> str | None:
    """Return how the guard begins its verdict on a short question: one pass."""
    with suppress(PromptError):  # a template may refuse it
        text = guard.layout.render([Turn("user", "Hello.")])
        logits: Any = guard.model.open([guard.encoder.encode(text).ids]).roots()[0]
        firsts = _first_tokens(vocabulary)
        if firsts:
            best = {o: max(float(logits[i]) for i in ids) for o, ids in firsts.items()}
            return max(best, key=lambda opener: best[opener])
    return None


def _first_tokens(vocabulary: Vocabulary) -> dict[str, list[int]]:
    """Return the tokens with which each opener, and the level behind it, may begin."""
    levels = [level.words for level in vocabulary.automaton.grammar.levels]
    firsts: dict[str, list[int]] = {}
    for opener in vocabulary.automaton.grammar.openers:
        with suppress(OptionError):
            firsts[opener] = [vocabulary.spell(opener + words)[0] for words in levels]
    return firsts
