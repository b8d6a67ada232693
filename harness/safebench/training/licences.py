"""Licences of training data and of bases: which is the strictest, and what they ask.

What is said here is what the catalogue and cards state. Whether a licence of data binds
a model that learnt from them is not settled; a card names it, so that nobody overlooks
it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safebench.specs import DatasetSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from safebench.plugins import Plugins

UNKNOWN = "unknown"
# From the least to the most that is asked of whoever uses the data; the hub's ids.
_BY_STRICTNESS = (
    *("cc0-1.0", "unlicense", "mit", "bsd-2-clause", "bsd-3-clause", "apache-2.0"),
    *("cc-by-3.0", "cc-by-4.0", "odc-by", "cdla-permissive-2.0"),
    *("cc-by-sa-3.0", "cc-by-sa-4.0", "odbl"),
    *("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0"),
)
_LLAMA = (
    "its licence asks for a copy of the agreement beside what is passed on, for a "
    "notice, and (from Llama 3 on) for 'Built with Llama' and a name that begins with "
    "'Llama'"
)
_GEMMA = "its terms ask that its use restrictions and a notice are passed on with it"
_GATED = (
    "it is gated: whoever read it accepted terms, which may say more than its licence"
)
# Names of bases as the hub has them -> licence, and what it asks of those who pass on.
# Read in the cards of these models.
_BASES = (
    (r"(distil)?bert-base-\w+|all-minilm-.*|minilm|modernbert-.*", "apache-2.0", ""),
    (r"tiny-guard.*", "apache-2.0", ""),
    (r"roberta-(base|large)|gpt-neo-.*|deberta-v3-.*", "mit", ""),
    (r"qwen3(guard)?-.*", "apache-2.0", ""),
    (r"llama-?guard-7b|llama-2-.*", "llama2", _LLAMA),
    (r"meta-llama-3-.*|meta-llama-guard-2-.*", "llama3", _LLAMA),
    (r"(meta-)?llama-3\.1-.*|llama-guard-3-8b.*", "llama3.1", _LLAMA),
    (r"llama-3\.2-.*|llama-guard-3-(1b|11b).*", "llama3.2", _LLAMA),
    (r"llama-3\.3-.*", "llama3.3", _LLAMA),
    (r"llama-(guard-)?4-.*", "llama4", _LLAMA),
    (r"(shield)?gemma-.*", "gemma", _GEMMA),
)


@dataclass(frozen=True, slots=True)
class Licensed:
    """A data set or a base: its name, its licence as stated, and the hub's id for it.

    `id` is "unknown" where none is stated or the hub has no id. `asks` is what a
    licence asks of whoever passes on what was made from it.
    """

    name: str
    stated: str
    id: str
    asks: str = ""

    @property
    def rank(self) -> int:
        """How strict it is; -1 where that is not known."""
        return _BY_STRICTNESS.index(self.id) if self.id in _BY_STRICTNESS else -1

    @property
    def forbids(self) -> str:
        """What it forbids of what is public, "" for nothing that is known."""
        parts = self.id.split("-")
        forbidden = [
            what
            for part, what in (("nc", "commercial use"), ("nd", "changed copies"))
            if part in parts
        ]
        return " and ".join(forbidden)


def licence_id(stated: str) -> str:
    """Return the hub's id of a licence as a card states it, "unknown" without one."""
    folded = re.sub(r"[\s_]+", "-", stated.strip().casefold())
    return folded if folded in _BY_STRICTNESS else UNKNOWN


def licences_of_data(
    sources: Iterable[Mapping[str, Any]], plugins: Plugins
) -> list[Licensed]:
    """Return the licence of each set among the sources of a training, once each."""
    specs = {spec.name: spec for spec in plugins.all(DatasetSpec)}
    by_hub_id = {spec.hub_id: spec for spec in specs.values() if spec.hub_id}
    found: dict[str, Licensed] = {}
    for source in sources:
        name = str(source.get("name") or source.get("id") or "")
        spec = specs.get(name.partition(":")[0]) or by_hub_id.get(str(source.get("id")))
        known = spec and (spec.hub_id or spec.name == "starter")
        stated = spec.licence if spec and known else "unknown: not in the catalogue"
        gated = spec is not None and spec.card is not None and spec.card.gated
        label = name.partition(":")[0]
        asks = _GATED if gated else ""
        found[label] = Licensed(label, stated, licence_id(stated), asks)
    return list(found.values())


def licences_of_bases(bases: Sequence[Mapping[str, Any]]) -> list[Licensed]:
    """Return the licence of each base by its name, "unknown" for names not known."""
    found = {}
    for base in bases:
        name = str(base.get("name") or "")
        short = name.rstrip("/").rpartition("/")[2].casefold()
        stated, asks = "unknown: see its card", ""
        for pattern, licence, notice in _BASES:
            if re.fullmatch(pattern, short):
                stated, asks = f"{licence} (by its name; see its card)", notice
                break
        found[name] = Licensed(name, stated, stated.partition(" ")[0].strip(":"), asks)
    return list(found.values())


def strictest(licences: Sequence[Licensed]) -> Licensed | None:
    """Return the strictest licence whose rank is known, None without any."""
    ranked = [licence for licence in licences if licence.rank >= 0]
    return max(ranked, key=lambda licence: licence.rank, default=None)


def model_licence(licences: Sequence[Licensed]) -> str:
    """Return the id that a card may state: the strictest, if all are known.

    A base under a licence of its own passes that on; "unknown" is no guess.
    """
    own = {licence.id for licence in licences if licence.rank < 0}
    found = strictest(licences)
    if not own:
        return found.id if found else UNKNOWN
    if own == {UNKNOWN} or len(own) > 1 or (found and found.forbids):
        return UNKNOWN
    return own.pop()
