"""What the pages of one site share: plugins, classifiers, models, and runs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from threading import BoundedSemaphore, Lock, Thread
from typing import TYPE_CHECKING, Any

from safebench import compatibility
from safebench.console import echo
from safebench.errors import OptionError, SafebenchError
from safebench.pipeline.config import ComponentRef, RunConfig
from safebench.score import ScoringService
from safebench.score.service import default_classifier, unavailable_reason
from safebench.specs import ClassifierSpec, StrategySpec
from safebench.training.artifact import trained_models

from .run_charts import ChartCache
from .sample_texts import SampleTextCache
from .score_queue import ScoreQueue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.plugins import Plugins
    from safebench.score.deployment import Deployment

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
    plugins: Plugins, named: Sequence[ComponentRef], *, check: bool = True
) -> list[ClassifierChoice]:
    """Return the classifiers that were named, then every other that is installed.

    The first is the default of the page: the first that was named, and otherwise the
    default classifier. With `check` those that nobody named are tried as they are,
    which imports the library of each.
    """
    refs = list(named)
    if not refs:
        default = default_classifier(plugins)
        refs.append(ComponentRef(default, default))
    taken = {ref.label for ref in refs} | {ref.name for ref in named}
    others = sorted(s.name for s in plugins.all(ClassifierSpec) if s.name not in taken)
    trained = [ref for ref in _trained_here(plugins) if ref.label not in taken]
    offered = [
        _classifier_choice(
            plugins, ref, unavailable_reason(plugins, ref) if check else ""
        )
        for ref in (*trained, *(ComponentRef(name, name) for name in others))
    ]
    # a classifier that needs a model is offered with those trained here, not without
    kinds = {ref.name for ref in trained}
    return [_classifier_choice(plugins, ref) for ref in refs] + [
        choice for choice in offered if not (choice.obstacle and choice.label in kinds)
    ]


def _trained_here(plugins: Plugins) -> list[ComponentRef]:
    """Return the classifiers whose models were trained in ./models or ./runs."""
    names = {spec.name for spec in plugins.all(ClassifierSpec)}
    refs = []
    for kind, folder in trained_models():
        if kind in names:
            # a folder whose name cannot stand on a page can be named by -c
            with suppress(OptionError):
                label = f"{kind} ({folder})"
                refs.append(ComponentRef(kind, label, {"model": str(folder)}))
    return refs


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


def deployed_choice(deployment: Deployment) -> ClassifierChoice:
    """Return the one choice that an operating point leaves."""
    classifier = deployment.classifier
    (strategy,) = classifier.strategies
    return ClassifierChoice(
        ref=ComponentRef(classifier.spec.name, classifier.label),
        summary=classifier.spec.summary,
        strategy=strategy.label,
        strategies=(strategy.label,),
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
    shows its place in the queue. With a `deployment` its guard alone is asked, and its
    operating point decides. Prompts of runs are read below `data_root`, where hub sets
    lie as ORG/NAME.
    """

    plugins: Plugins
    classifiers: tuple[ComponentRef, ...] = ()
    runs: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    patience: float = 60.0
    deployment: Deployment | None = None
    data_root: str | None = None
    queue: ScoreQueue[Any, Any] = field(default_factory=ScoreQueue)
    charts: ChartCache = field(default_factory=ChartCache)
    service: ScoringService = field(init=False)
    sample_texts: SampleTextCache = field(init=False)
    _loading: Thread | None = field(default=None, init=False)
    _checked: list[ClassifierChoice] = field(default_factory=list, init=False)
    _check_lock: Lock = field(default_factory=Lock, init=False)
    _held: BoundedSemaphore = field(init=False)

    def __post_init__(self) -> None:
        self.service = ScoringService(self.plugins)
        self.sample_texts = SampleTextCache(self.plugins, self.data_root)
        self._held = BoundedSemaphore(MAX_HELD_REQUESTS)

    @property
    def choices(self) -> list[ClassifierChoice]:
        """The classifiers of the form, the default first.

        Without the obstacles of the others as long as these are looked for.
        """
        if not self._checked and self._is_starting():
            return self._unchecked_choices
        return self.checked_choices

    @property
    def checked_choices(self) -> list[ClassifierChoice]:
        """The classifiers of the form with their obstacles, which may take seconds."""
        with self._check_lock:  # libraries are imported: by one thread at a time
            if not self._checked and self.deployment is not None:
                self._checked = [deployed_choice(self.deployment)]
            elif not self._checked:
                self._checked = classifier_choices(self.plugins, self.classifiers)
            return self._checked

    @cached_property
    def _unchecked_choices(self) -> list[ClassifierChoice]:
        if self.deployment is not None:
            return [deployed_choice(self.deployment)]
        return classifier_choices(self.plugins, self.classifiers, check=False)

    def wait_for(self, ticket: Ticket[Any, Any]) -> bool:
        """Wait for a ticket, if a thread can be spared; return whether it is done."""
        if not self._held.acquire(blocking=False):
            return ticket.finished.is_set()
        try:
            return ticket.finished.wait(self.patience)
        finally:
            self._held.release()

    def start_loading(self) -> None:
        """Start to look at all classifiers, then to load the default one, beside us."""
        self._loading = Thread(target=self._load_default, name="loading", daemon=True)
        self._loading.start()

    @property
    def loading_classifier(self) -> str:
        """The label of the default classifier while it is being loaded, else ""."""
        return self.choices[0].label if self._is_starting() else ""

    def _is_starting(self) -> bool:
        return self._loading is not None and self._loading.is_alive()

    def _load_default(self) -> None:
        choice = self._unchecked_choices[0]
        try:
            _ = self.checked_choices
            if self.deployment is not None:
                self.service.load(self.deployment.classifier)
                return
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
