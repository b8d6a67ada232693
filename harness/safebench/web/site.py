"""What the pages share: plugins, loaded models, and the runs to browse."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from threading import Thread
from typing import TYPE_CHECKING

from safebench.asking import Desk
from safebench.errors import OptionError, SafebenchError
from safebench.run.config import RunConfig

from .offers import offers

if TYPE_CHECKING:
    from safebench.plugins import Plugins
    from safebench.run.terms import Term

    from .offers import Offer


@dataclass(kw_only=True)
class Site:
    """One served site. `runs` as on the command line: none means all in ``./runs``.

    `hosts` are the names, besides this machine's, that it may be asked for by.
    """

    plugins: Plugins
    classifiers: tuple[Term, ...] = ()
    runs: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    desk: Desk = field(init=False)
    _loading: Thread | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.desk = Desk(self.plugins)

    @cached_property
    def offers(self) -> list[Offer]:
        """The classifiers of the form, the default first."""
        return offers(self.plugins, self.classifiers)

    def prepare(self) -> None:
        """Start to load the default classifier, before anybody asks it."""
        self._loading = Thread(target=self._load, name="loading", daemon=True)
        self._loading.start()

    @property
    def awaited(self) -> str:
        """The default classifier as long as it is being loaded, else nothing."""
        loading = self._loading is not None and self._loading.is_alive()
        return self.offers[0].label if loading else ""

    def _load(self) -> None:
        with suppress(SafebenchError):  # whoever asks is told
            term = self.offers[0].term
            self.desk.load(self.desk.choose(RunConfig(classifiers=(term,))))

    def check(self) -> None:
        """Raise `SafebenchError` for a classifier that cannot be offered as named."""
        labels = [term.label for term in self.classifiers]
        for term in self.classifiers:
            times = labels.count(term.label)
            if times > 1:
                raise OptionError(f"{times} classifiers are called {term.label!r}")
            self.desk.choose(RunConfig(classifiers=(term,)))
