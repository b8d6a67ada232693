"""The front page: a form for one conversation, and the results of scoring it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Blueprint, render_template, request

from safebench.compatibility import check_pairs
from safebench.errors import DataError, SafebenchError, unknown_name
from safebench.evidence import VerdictTree
from safebench.pipeline.config import ALL_STRATEGIES, ComponentRef, RunConfig
from safebench.score.conversation import from_text
from safebench.specs import ClassifierSpec, StrategySpec

from .score_drawing import score_scale
from .state import strategies_by_classifiers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from safebench.pipeline.grid import ResolvedStrategy
    from safebench.plugins import Plugins
    from safebench.score import Conversation, ScoreResult
    from safebench.score.service import RecordedSample
    from safebench.score.tree_view import TreeView

    from .score_drawing import ScoreScale
    from .state import AppState, ClassifierChoice


MAX_CHARACTERS = 250_000
# Of a whole form: URL encoding writes a character of a text as up to twelve bytes.
MAX_FORM_BYTES = 4 * 2**20


class TooLongError(SafebenchError):
    """A text is longer than the page takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreForm:
    """The fields of the form as they were sent; "" stands for the default.

    They are kept as they are, so that the page can show them again.
    """

    prompt: str = ""
    response: str = ""
    classifier: str = ""
    strategy: str = ""

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> ScoreForm:
        """Return the fields of a request; browsers send line ends as CR LF."""
        texts = {
            name: fields.get(name, "").replace("\r\n", "\n").replace("\r", "\n")
            for name in ("prompt", "response", "classifier", "strategy")
        }
        return cls(**texts)

    def conversation(self) -> Conversation:
        """Return the conversation to score; an empty response is none.

        Raises `DataError` without a prompt, `TooLongError` for one that is too long.
        """
        for name, text in (("prompt", self.prompt), ("response", self.response)):
            if len(text) > MAX_CHARACTERS:
                raise TooLongError(
                    f"the {name} has {len(text):,} characters, this page takes "
                    f"{MAX_CHARACTERS:,}; `safebench score -` reads longer ones"
                )
        if not self.prompt.strip():
            raise DataError("there is no prompt to judge: write one")
        return from_text(self.prompt, self.response if self.response.strip() else None)

    def config(
        self, choices: Sequence[ClassifierChoice], plugins: Plugins
    ) -> RunConfig:
        """Return the chosen run: one classifier, the strategy, then all others.

        Raises `UnknownNameError` for names that are not on the page, and `DataError`
        for a classifier that cannot run as it is.
        """
        choice = self._choice(choices)
        if choice.obstacle:
            raise DataError(f"{choice.label} cannot be asked: {choice.obstacle}")
        strategy = plugins.get(StrategySpec, self.strategy or choice.strategy)
        classifier = plugins.get(ClassifierSpec, choice.ref.name)
        check_pairs([classifier], [strategy], plugins)
        name = strategy.name
        return RunConfig(
            classifiers=(choice.ref,),
            strategies=(
                ComponentRef(name, name),
                ComponentRef(ALL_STRATEGIES, ALL_STRATEGIES),
            ),
        )

    def _choice(self, choices: Sequence[ClassifierChoice]) -> ClassifierChoice:
        if not self.classifier:
            return choices[0]
        by_label = {choice.label: choice for choice in choices}
        if self.classifier not in by_label:
            raise unknown_name("classifier", self.classifier, by_label)
        return by_label[self.classifier]


PageResponse = tuple[str, int]  # the page and its status


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreView:
    """A result with its drawings, and the results of all other strategies."""

    result: ScoreResult
    scale: ScoreScale | None
    tree: TreeView | None
    others: tuple[ScoreResult, ...]


def score_blueprint(state: AppState) -> Blueprint:
    """Return the front page of a site."""
    blueprint = Blueprint("score", __name__)

    @blueprint.get("/")
    def form() -> PageResponse:
        return _render_page(state, ScoreForm.read(request.args)), 200

    @blueprint.post("/")
    def score() -> PageResponse:
        fields = ScoreForm.read(request.form)
        try:
            view = score_form(state, fields)
        except TooLongError as error:
            return _render_page(state, ScoreForm(), error=error.message), 413
        except SafebenchError as error:
            return _render_page(state, fields, error=error.message), 400
        return _render_page(state, fields, view=view), 200

    return blueprint


def score_form(state: AppState, form: ScoreForm) -> ScoreView:
    """Score the conversation of a form; raises `SafebenchError` for what is wrong."""
    conversation = form.conversation()
    classifier = state.service.resolve(form.config(state.choices, state.plugins))
    sample = state.service.record(classifier, conversation)
    first, *others = classifier.strategies
    result = sample.judge(first)
    return ScoreView(
        result=result,
        scale=score_scale(result),
        tree=_tree_view(sample),
        others=tuple(_judge_others(sample, others)),
    )


def _judge_others(
    sample: RecordedSample, strategies: Sequence[ResolvedStrategy]
) -> Iterator[ScoreResult]:
    """Yield the results of other strategies; one that does not apply is left out."""
    for strategy in strategies:
        with suppress(SafebenchError):
            yield sample.judge(strategy)


def _tree_view(sample: RecordedSample) -> TreeView | None:
    from safebench.score.tree_view import build_tree_view

    kinds = dict(sample.evidence.items())
    if VerdictTree not in kinds or sample.trace.error is not None:
        return None
    return build_tree_view(sample.evidence[VerdictTree], sample.classifier.token_bytes)


def _render_page(
    state: AppState, form: ScoreForm, view: ScoreView | None = None, error: str = ""
) -> str:
    return render_template(
        "score.html",
        choices=state.choices,
        strategy_groups=strategies_by_classifiers(state.choices),
        loading_classifier=state.loading_classifier,
        form=form,
        view=view,
        error=error,
    )
