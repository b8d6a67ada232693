"""`safebench.judge`: texts judged as ``safebench score`` does, as a data frame."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

from safebench.errors import DataError, OptionError

from .calls import errors_for_callers, installed_plugins, one_at_a_time
from .frames import check_library, collect_columns, make_frame
from .run_options import component_refs, make_config, text_option

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    import polars as pl

    from safebench.pipeline.config import RunConfig
    from safebench.pipeline.resolved import ResolvedClassifier
    from safebench.score import Conversation, ScoringService
    from safebench.score.deployment import Deployment

    from .frames import Frames, Kind
    from .run_options import Components, FilePath

    Texts = str | Mapping[str, Any] | Iterable[str | Mapping[str, Any]]

_MAX_ERRORS = 10
# what a judgement has, in the order of ``safebench score --json``
JUDGEMENT_KINDS: dict[str, Kind] = {
    "row": "int",
    "verdict": "string",
    **dict.fromkeys(("score", "lower", "upper", "threshold"), "double"),
    "categories": "mapping",
    **dict.fromkeys(
        ("cost", "uncertainty", "uncertainty_lower", "uncertainty_upper"), "double"
    ),
    "harmful": "bool",
    "probability": "bool",
    **dict.fromkeys(("task", "classifier", "strategy", "model", "policy"), "string"),
    "seconds": "double",
    "loading": "double",
    "tokens_in": "int",
    "tokens_dropped": "int",
    "raw": "string",
    "error": "string",
    "notes": "list",
}


class LoadedModels:
    """The models of the last call: another call with the same ones loads nothing."""

    def __init__(self) -> None:
        self.key = ""
        self.service: ScoringService | None = None

    def service_for(self, classifiers: list[ResolvedClassifier]) -> ScoringService:
        """Return a service that holds the models of these classifiers, and no other."""
        from safebench.score import ScoringService

        key = json.dumps(
            [[c.request, repr(c.options)] for c in classifiers], default=str
        )
        if self.service is None or key != self.key:
            if self.service is not None:
                self.service.close()
            self.service, self.key = ScoringService(installed_plugins()), key
        return self.service


_models = LoadedModels()


@overload
def judge(
    texts: Texts,
    classifier: Components = ...,
    strategy: Components = ...,
    *,
    task: str = ...,
    model: FilePath | None = ...,
    set: Mapping[str, Any] | None = ...,
    operating_point: FilePath | None = ...,
    frames: Literal["pandas"] = ...,
) -> pd.DataFrame: ...
@overload
def judge(
    texts: Texts,
    classifier: Components = ...,
    strategy: Components = ...,
    *,
    task: str = ...,
    model: FilePath | None = ...,
    set: Mapping[str, Any] | None = ...,
    operating_point: FilePath | None = ...,
    frames: Literal["polars"],
) -> pl.DataFrame: ...


def judge(
    texts: Texts,
    classifier: Components = (),
    strategy: Components = (),
    *,
    task: str = "",
    model: FilePath | None = None,
    set: Mapping[str, Any] | None = None,  # noqa: A002 - as the flag is called
    operating_point: FilePath | None = None,
    frames: Frames = "pandas",
) -> Any:
    """Judge texts, and return one row for each text, classifier and strategy.

    A text is a prompt, or a mapping with ``prompt`` and perhaps ``response``, or
    ``messages``, as a line of JSON that ``safebench score`` reads. `row` is its place
    in `texts`. The numbers are those of ``safebench score``, with its defaults (the
    embedded guard, or ``keyword`` without its plugin); `notes` are what it notes of a
    judgement. A judgement that failed has an `error` and no verdict, and the others go
    on; a pair that does not go together is left out with a warning. With an
    `operating_point` its guard judges, and `action` is block, review or pass.

    The model is loaded once, and stays for the next call until one names another.
    Threads may call it: calls take turns.

    Raises `DataError` before any model is loaded if a text is empty or none, and other
    `safebench.errors.SafebenchError` for what the command would refuse.
    """
    check_library(frames)
    with errors_for_callers():
        given = {"classifiers": classifier, "strategies": strategy}
        named = {
            name: component_refs(name, value) for name, value in given.items() if value
        }
        config = make_config({**named, "model": model, "set": set})
        conversations = _conversations(texts)
        with one_at_a_time():
            records = _judge_all(conversations, config, task, operating_point)
    return make_frame(collect_columns(records, JUDGEMENT_KINDS), frames)


def _judge_all(
    conversations: list[Conversation],
    config: RunConfig,
    task: str,
    operating_point: FilePath | None,
) -> list[dict[str, Any]]:
    from safebench.score.conversation import check_task
    from safebench.score.several import check_conversations, score_conversations

    check_task(task)
    classifiers, deployment = _guards(config, operating_point)
    check_conversations(conversations, classifiers, task, deployment)
    if not conversations:  # a frame without rows, and no model is loaded
        return []
    results = score_conversations(
        _models.service_for(classifiers),
        conversations,
        classifiers,
        task,
        deployment,
        skip=_warn_of_skipped,
    )
    # the location of a text is its place, for which messages have words around it
    return [{"row": int(location)} | result.to_json() for location, result in results]


def _guards(
    config: RunConfig, operating_point: FilePath | None
) -> tuple[list[ResolvedClassifier], Deployment | None]:
    """Return who judges: the guard of an operating point, or those that are named."""
    from dataclasses import replace

    from safebench.pipeline.config import ComponentRef
    from safebench.score import ScoringService
    from safebench.score.deployment import deploy
    from safebench.score.service import default_classifier

    plugins = installed_plugins()
    if operating_point is not None:
        deployment = deploy(
            text_option("operating_point", operating_point), plugins, config
        )
        return [deployment.classifier], deployment
    if not config.classifiers:
        name = default_classifier(plugins)
        config = replace(config, classifiers=(ComponentRef(name, name),))
    classifiers, skipped = ScoringService(plugins).resolve_all(config)
    for line in skipped:
        _warn_of_skipped(line)
    return classifiers, None


def _warn_of_skipped(line: str) -> None:
    warnings.warn(f"skipped {line}", stacklevel=2)


def _conversations(texts: Texts) -> list[Conversation]:
    """Return texts as conversations; raises DataError that names the bad ones."""
    # a text alone is one text, and not its letters
    items = [texts] if isinstance(texts, str | Mapping) else texts
    conversations, errors = [], []
    try:
        numbered = enumerate(items)
    except TypeError:
        raise OptionError(
            f"texts: expected texts or mappings, got {texts!r:.60}"
        ) from None
    for row, item in numbered:
        try:
            conversations.append(_conversation(row, item))
        except DataError as error:
            errors.append(f"texts[{row}]: {error.message}")
    if errors:
        lines = errors[:_MAX_ERRORS]
        if len(errors) > _MAX_ERRORS:
            lines.append(f"... and {len(errors) - _MAX_ERRORS} more")
        raise DataError("\n".join(lines))
    return conversations


def _conversation(row: int, item: Any) -> Conversation:
    from dataclasses import replace

    from safebench.datasets.request import BadRowError
    from safebench.score.conversation import from_text, parse_row

    if isinstance(item, str):
        return replace(from_text(item), location=str(row))
    if not isinstance(item, Mapping):
        raise DataError(f"expected a text or a mapping, got {item!r:.60}")
    try:
        return parse_row(dict(item), str(row))
    except BadRowError as error:
        raise DataError(str(error)) from None
