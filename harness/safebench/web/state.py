"""What the pages of one site share: plugins, classifiers, models, and runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from threading import BoundedSemaphore, Thread
from typing import TYPE_CHECKING, Any

from safebench import compatibility
from safebench.console import echo
from safebench.errors import OptionError, SafebenchError
from safebench.pipeline.config import ComponentRef, RunConfig
from safebench.score import ScoringService
from safebench.score.service import default_classifier, unavailable_reason
from safebench.specs import ClassifierSpec, StrategySpec

from .score_queue import ScoreQueue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.plugins import Plugins

    from .score_queue import Ticket

# Requests that may wait for their answer at a time; others get a page that says where
# they stand. The server has more threads than these, so that some are always free.
MAX_HELD_REQUESTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierChoice:
    """A classifier with its options, as the page names it.

    `obstacle` says why it cannot run as it is; it is shown, but cannot be chosen.
    """

    ref: ComponentRef
    summary: str
    strategy: str
    strategies: tuple[str, ...]
    obstacle: str = ""

    @property
    def label(self) -> str:
        """The name of the choice on the page."""
        return self.ref.label


def classifier_choices(
    plugins: Plugins, named: Sequence[ComponentRef]
) -> list[ClassifierChoice]:
    """Return the classifiers that were named, then every other that is installed.

    The first is the default of the page: the first that was named, and otherwise the
    default classifier.
    """
    refs = list(named)
    if not refs:
        default = default_classifier(plugins)
        refs.append(ComponentRef(default, default))
    taken = {ref.label for ref in refs} | {ref.name for ref in named}
    others = sorted(s.name for s in plugins.all(ClassifierSpec) if s.name not in taken)
    choices = [_classifier_choice(plugins, ref) for ref in refs]
    return choices + [
        _classifier_choice(
            plugins, ComponentRef(name, name), unavailable_reason(plugins, name)
        )
        for name in others
    ]


def _classifier_choice(
    plugins: Plugins, ref: ComponentRef, obstacle: str = ""
) -> ClassifierChoice:
    spec = plugins.get(ClassifierSpec, ref.name)
    return ClassifierChoice(
        ref=ref,
        summary=spec.summary,
        strategy=spec.default_strategy,
        strategies=tuple(
            s.name
            for s in plugins.all(StrategySpec)
            if not compatibility.missing_requirements(spec, s)
        ),
        obstacle=obstacle,
    )


def strategies_by_classifiers(
    choices: Sequence[ClassifierChoice],
) -> dict[str, tuple[str, ...]]:
    """Return the strategies, grouped by the classifiers whose evidence they read."""
    readers: dict[str, list[str]] = {}
    for choice in choices:
        for strategy in choice.strategies:
            readers.setdefault(strategy, []).append(choice.label)
    groups: dict[str, list[str]] = {}
    for strategy, labels in readers.items():
        groups.setdefault(", ".join(labels), []).append(strategy)
    return {labels: tuple(names) for labels, names in groups.items()}


@dataclass(kw_only=True)
class AppState:
    """The state of one site.

    `runs` are paths as on the command line; none means all in ``./runs``. `hosts` are
    the names, besides this machine's, under which the site may be opened. `patience`
    is how many seconds a request may wait for its answer before it gets a page that
    shows its place in the queue.
    """

    plugins: Plugins
    classifiers: tuple[ComponentRef, ...] = ()
    runs: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    patience: float = 60.0
    queue: ScoreQueue[Any, Any] = field(default_factory=ScoreQueue)
    service: ScoringService = field(init=False)
    _loading: Thread | None = field(default=None, init=False)
    _held: BoundedSemaphore = field(init=False)

    def __post_init__(self) -> None:
        self.service = ScoringService(self.plugins)
        self._held = BoundedSemaphore(MAX_HELD_REQUESTS)

    @cached_property
    def choices(self) -> list[ClassifierChoice]:
        """The classifiers of the form, the default first."""
        return classifier_choices(self.plugins, self.classifiers)

    def wait_for(self, ticket: Ticket[Any, Any]) -> bool:
        """Wait for a ticket, if a thread can be spared; return whether it is done."""
        if not self._held.acquire(blocking=False):
            return ticket.finished.is_set()
        try:
            return ticket.finished.wait(self.patience)
        finally:
            self._held.release()

    def start_loading(self) -> None:
        """Start to load the default classifier in the background."""
        self._loading = Thread(target=self._load_default, name="loading", daemon=True)
        self._loading.start()

    @property
    def loading_classifier(self) -> str:
        """The label of the default classifier while it is being loaded, else ""."""
        loading = self._loading is not None and self._loading.is_alive()
        return self.choices[0].label if loading else ""

    def _load_default(self) -> None:
        choice = self.choices[0]
        try:
            config = RunConfig(classifiers=(choice.ref,))
            self.service.load(self.service.resolve(config))
        except SafebenchError as error:  # the first request will raise it again
            echo(f"{choice.label} is not loaded: {error.message}", err=True)

    def check_classifiers(self) -> None:
        """Raise `SafebenchError` for a classifier that cannot be served as named."""
        labels = [ref.label for ref in self.classifiers]
        for ref in self.classifiers:
            count = labels.count(ref.label)
            if count > 1:
                raise OptionError(f"{count} classifiers are called {ref.label!r}")
            self.service.resolve(RunConfig(classifiers=(ref,)))
