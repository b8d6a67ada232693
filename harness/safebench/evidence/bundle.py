"""Evidence of several kinds about the same samples, with derived kinds on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from safebench.lazy import import_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .base import Evidence

E = TypeVar("E", bound="Evidence")


class EvidenceBundle:
    """The evidence that a strategy reads: ``bundle[VerdictTree]``.

    A kind that was not recorded is derived from one that was (`derived_from`), once.
    """

    def __init__(self, recorded: Mapping[type[Evidence], Evidence]) -> None:
        if not recorded:
            raise ValueError("a bundle needs evidence of at least one kind")
        self._kinds: dict[type[Evidence], Evidence] = dict(recorded)

    def __len__(self) -> int:
        return len(next(iter(self._kinds.values())))

    def __getitem__(self, kind: type[E]) -> E:
        if kind not in self._kinds:
            self._kinds[kind] = self._derive(kind)
        evidence = self._kinds[kind]
        assert isinstance(evidence, kind), f"{type(evidence).__name__} stored as {kind}"
        return evidence

    @property
    def decisions_only_at(self) -> float | None:
        """The only threshold at which the evidence supports decisions, or None."""
        limits = (batch.decisions_only_at for batch in self._kinds.values())
        return next((limit for limit in limits if limit is not None), None)

    def unread(self, written: Sequence[str | None], floor: float) -> list[str | None]:
        """Say of each sample why it holds no verdict, None where it does, (B,).

        `written` (B,) are the texts that the guard wrote, where they are known; `floor`
        is the probability below which a verdict counts as not read.
        """
        reasons: list[str | None] = [None] * len(self)
        for kind, batch in self._kinds.items():
            if kind.unread:
                other = import_object(kind.unread)(batch, written, floor)
                reasons = [a or b for a, b in zip(reasons, other, strict=True)]
        return reasons

    def items(self) -> Iterable[tuple[type[Evidence], Evidence]]:
        """Return the kinds at hand, recorded or derived, with their evidence."""
        return self._kinds.items()

    def _derive(self, kind: type[E]) -> Evidence:
        for source, function in kind.derived_from.items():
            # A source may itself be derived, so this goes on through `self[source]`.
            if source in self._kinds or source.derived_from:
                derived: Evidence = import_object(function)(self[source])
                return derived
        recorded = ", ".join(k.__name__ for k in self._kinds)
        raise KeyError(f"{kind.__name__} is not recorded, only {recorded}")
