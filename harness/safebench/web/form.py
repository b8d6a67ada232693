"""What the form sent: read, limited, and turned into a question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safebench.asking.question import typed
from safebench.errors import DataError, SafebenchError, unknown
from safebench.plan import check_pairs
from safebench.run.config import ALL, RunConfig
from safebench.run.terms import Term
from safebench.specs import ClassifierSpec, StrategySpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.asking import Question
    from safebench.plugins import Plugins

    from .offers import Offer

MOST_CHARACTERS = 250_000
MOST_BYTES = 4 * 2**20  # of a whole form: percent signs make it longer than its texts


class TooLongError(SafebenchError):
    """A text is longer than the page takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """The fields as sent, so that the page can show them again; "" is the default."""

    prompt: str = ""
    response: str = ""
    classifier: str = ""
    strategy: str = ""

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> Filled:
        """Take the known fields; browsers send line ends as CR LF."""
        texts = {
            name: fields.get(name, "").replace("\r\n", "\n").replace("\r", "\n")
            for name in ("prompt", "response", "classifier", "strategy")
        }
        return cls(**texts)

    def question(self) -> Question:
        """Return the conversation; an empty response is none.

        Raises `DataError` without a prompt, `TooLongError` for one that is too long.
        """
        for name, text in (("prompt", self.prompt), ("response", self.response)):
            if len(text) > MOST_CHARACTERS:
                raise TooLongError(
                    f"the {name} has {len(text):,} characters, this page takes "
                    f"{MOST_CHARACTERS:,}; `safebench score -` reads longer ones"
                )
        if not self.prompt.strip():
            raise DataError("there is no prompt to judge: write one")
        return typed(self.prompt, self.response if self.response.strip() else None)

    def config(self, found: Sequence[Offer], plugins: Plugins) -> RunConfig:
        """Return the run that was chosen: one classifier, its strategy, then all.

        Raises `UnknownNameError` for names that are not on the page, and what stands
        in the way of a classifier that cannot run as it is.
        """
        offer = self._offer(found)
        if offer.obstacle:
            raise DataError(f"{offer.label} cannot be asked: {offer.obstacle}")
        strategy = plugins.get(StrategySpec, self.strategy or offer.strategy)
        classifier = plugins.get(ClassifierSpec, offer.term.name)
        check_pairs([classifier], [strategy], plugins)
        name = strategy.name
        return RunConfig(
            classifiers=(offer.term,), strategies=(Term(name, name), Term(ALL, ALL))
        )

    def _offer(self, found: Sequence[Offer]) -> Offer:
        if not self.classifier:
            return found[0]
        by_label = {offer.label: offer for offer in found}
        if self.classifier not in by_label:
            raise unknown("classifier", self.classifier, by_label)
        return by_label[self.classifier]
