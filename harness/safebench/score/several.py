"""Several conversations, each judged by several classifiers and strategies.

A part that fails is a result without a verdict, and the others go on.
"""

from __future__ import annotations

from contextlib import nullcontext
from itertools import product
from typing import TYPE_CHECKING

from safebench.errors import IncompatibleError, PluginError

from .result import failed_result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from safebench.pipeline.resolved import ResolvedClassifier

    from .conversation import Conversation
    from .deployment import Deployment
    from .result import ScoreResult
    from .service import RecordedSample, ScoringService


def check_conversations(
    conversations: Sequence[Conversation],
    classifiers: Sequence[ResolvedClassifier],
    task: str,
    deployment: Deployment | None = None,
) -> None:
    """Raise a SafebenchError for a conversation that cannot be judged.

    One bad line is refused before a model takes its time.
    """
    for conversation, classifier in product(conversations, classifiers):
        sample = conversation.to_sample(classifier, task)
        if deployment is not None:
            deployment.check_task(sample.task)


def score_conversations(
    service: ScoringService,
    conversations: Sequence[Conversation],
    classifiers: Sequence[ResolvedClassifier],
    task: str = "",
    deployment: Deployment | None = None,
    *,
    skip: Callable[[str], None],
    loading: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
    debug: bool = False,
) -> Iterator[tuple[str, ScoreResult]]:
    """Yield every result with the location of its conversation, as soon as known.

    `skip` is told of a pair that does not go together, where others do; `loading`
    is entered with a classifier's label while its model may be loaded. Where code of a
    plugin fails, its results have no verdict; with `debug` it raises.
    """
    not_loaded: dict[str, PluginError] = {}
    for conversation, classifier in product(conversations, classifiers):
        try:
            if classifier.label in not_loaded:  # it is not tried for every line
                raise not_loaded[classifier.label]
            loads_model = conversation is conversations[0]
            with loading(classifier.label) if loads_model else nullcontext():
                recorded = service.record(classifier, conversation, task)
        except PluginError as error:
            if debug:
                raise
            if not service.is_loaded(classifier):
                not_loaded[classifier.label] = error
            sample = conversation.to_sample(classifier, task)
            results: Iterable[ScoreResult] = [
                _undecided(
                    failed_result(classifier, strategy, sample.task, error.message),
                    deployment,
                )
                for strategy in classifier.strategies
            ]
        else:
            results = _judge_all(recorded, deployment, skip, debug=debug)
        yield from ((conversation.location, result) for result in results)


def _undecided(result: ScoreResult, deployment: Deployment | None) -> ScoreResult:
    """Return a failed result, which names the operating point that was asked."""
    return result if deployment is None else deployment.undecided(result)


def _judge_all(
    recorded: RecordedSample,
    deployment: Deployment | None,
    skip: Callable[[str], None],
    *,
    debug: bool,
) -> Iterator[ScoreResult]:
    """Yield the result of each strategy, as far as it applies; one may fail."""
    strategies = recorded.chosen.strategies
    for strategy in strategies:
        try:
            yield recorded.judge(strategy, deployment)
        except PluginError as error:
            if debug:
                raise
            yield _undecided(recorded.failed(strategy, error.message), deployment)
        except IncompatibleError as error:  # others may read this model
            if len(strategies) == 1:
                raise
            skip(f"{recorded.chosen.label} x {strategy.label}: {error.message}")
