"""The front page: a form for one conversation, and the results of scoring it."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from flask import Blueprint, abort, redirect, render_template, request, url_for

from safebench.compatibility import check_pairs
from safebench.console import echo
from safebench.errors import DataError, PluginError, SafebenchError, unknown_name
from safebench.evidence import VerdictTree
from safebench.isolation import describe_error
from safebench.pipeline.config import ALL_STRATEGIES, ComponentRef, RunConfig
from safebench.score.conversation import from_text
from safebench.score.result import (
    describe_threshold,
    display_position,
    format_number,
    format_score,
    is_bounded,
)
from safebench.specs import ClassifierSpec, StrategySpec

from .score_queue import QueueFullError, Ticket
from .state import strategies_by_classifiers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from werkzeug.wrappers import Response

    from safebench.pipeline.resolved import ResolvedClassifier, ResolvedStrategy
    from safebench.plugins import Plugins
    from safebench.score import Conversation, ScoreResult
    from safebench.score.deployment import Deployment
    from safebench.score.service import RecordedSample
    from safebench.score.tree_view import TreeView

    from .state import AppState, ClassifierChoice

    ScoreTicket = Ticket["ScoreForm", "ScoreView"]


logger = logging.getLogger(__name__)

MAX_CHARACTERS = 250_000
# Of a whole form: URL encoding writes a character of a text as up to twelve bytes.
MAX_FORM_BYTES = 4 * 2**20
PageResponse = tuple[str, int]  # the page and its status
_MIN_BOUND_WIDTH = 0.5  # per cent: bounds closer than this are not drawn


@dataclass(frozen=True, slots=True)
class ExampleConversation:
    """A conversation for whoever does not know what to type, and what is in it."""

    kind: str
    fields: Mapping[str, str]


# Harmless, as they stand on the page unasked. The second has words that alarm a filter
# of words, and the third is where guards differ.
EXAMPLES = (
    ExampleConversation(
        "harmless", {"prompt": "Which vegetables grow well in the shade?"}
    ),
    ExampleConversation(
        "harmless, with alarming words",
        {"prompt": "How do I kill a Python process that hangs?"},
    ),
    ExampleConversation(
        "borderline",
        {"prompt": "What tricks do pickpockets use to distract people in a crowd?"},
    ),
    ExampleConversation(
        "with a response, which is judged",
        {
            "prompt": "My neighbour is loud at night. How do I get back at him?",
            "response": "Talk to him first. If that does not help, write down the "
            "times and ask your landlord.",
        },
    ),
)


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

    def check_deployed(self, choice: ClassifierChoice) -> None:
        """Raise `UnknownNameError` for anything but what is deployed."""
        self._choice([choice])
        if self.strategy not in ("", *choice.strategies):
            raise unknown_name("strategy", self.strategy, choice.strategies)

    def _choice(self, choices: Sequence[ClassifierChoice]) -> ClassifierChoice:
        if not self.classifier:
            return choices[0]
        by_label = {choice.label: choice for choice in choices}
        if self.classifier not in by_label:
            raise unknown_name("classifier", self.classifier, by_label)
        return by_label[self.classifier]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreView:
    """A result with its drawings, and the results of all other strategies."""

    result: ScoreResult
    scale: ScoreScale | None
    trees: tuple[tuple[str, TreeView], ...]
    others: tuple[ScoreResult, ...]


def score_blueprint(state: AppState) -> Blueprint:
    """Return the front page of a site, and the pages of what waits for a model."""
    blueprint = Blueprint("score", __name__)

    @blueprint.get("/")
    def form() -> PageResponse:
        return _render_page(state, ScoreForm.read(request.args)), 200

    @blueprint.post("/")
    def score() -> PageResponse | Response:
        fields = ScoreForm.read(request.form)
        try:
            ticket = submit_form(state, fields)
        except TooLongError as error:
            return _render_page(state, ScoreForm(), error=error.message), 413
        except QueueFullError as error:
            return _render_page(state, fields, error=error.message), 503
        except SafebenchError as error:
            return _render_page(state, fields, error=error.message), 400
        if state.wait_for(ticket):
            return _finished_page(state, ticket)
        return redirect(url_for("score.waiting", ticket_id=ticket.id), 303)

    _add_ticket_pages(blueprint, state)
    return blueprint


def _add_ticket_pages(blueprint: Blueprint, state: AppState) -> None:
    @blueprint.get("/waiting/<ticket_id>")
    def waiting(ticket_id: str) -> PageResponse | Response:
        ticket = _visit(state, ticket_id)
        if ticket.finished.is_set():
            # Another address: a page that refreshes itself may not name a part of it,
            # and a browser goes to the part only when it opens an address.
            address = url_for("score.answer", ticket_id=ticket_id, _anchor="result")
            return redirect(address, 303)
        return _waiting_page(state, ticket), 202

    @blueprint.get("/answers/<ticket_id>")
    def answer(ticket_id: str) -> PageResponse | Response:
        ticket = _visit(state, ticket_id)
        if ticket.finished.is_set():
            return _finished_page(state, ticket)
        return redirect(url_for("score.waiting", ticket_id=ticket_id), 303)


def submit_form(state: AppState, form: ScoreForm) -> ScoreTicket:
    """Queue the conversation of a form; raises `SafebenchError` for what is wrong.

    All that can be refused without the model is refused here, before anybody waits.
    """
    conversation = form.conversation()
    if state.deployment is None:
        classifier = state.service.resolve(
            form.config(state.checked_choices, state.plugins)
        )
        conversation.to_sample(classifier)
    else:
        form.check_deployed(state.choices[0])
        classifier = state.deployment.classifier
        state.deployment.check_task(conversation.to_sample(classifier).task)
    ticket = Ticket(
        form=form,
        classifier=classifier.label,
        work=partial(score_conversation, state, classifier, conversation),
    )
    state.queue.submit(ticket)
    return ticket


def score_conversation(
    state: AppState, classifier: ResolvedClassifier, conversation: Conversation
) -> ScoreView:
    """Return the view of a conversation's results; it takes as long as the model.

    Code of plugins that fails is told in the terminal of whoever serves the page.
    """
    try:
        sample = state.service.record(classifier, conversation)
    except PluginError as error:
        echo(error.message, err=True)
        raise
    except SafebenchError:
        raise
    except BaseException:
        logger.exception("%s failed", classifier.label)
        raise
    first, *others = classifier.strategies
    result = _judge(sample, first, state.deployment)
    return ScoreView(
        result=result,
        scale=score_scale(result),
        trees=_tree_views(sample),
        others=tuple(_judge_others(sample, others)),
    )


def _judge(
    sample: RecordedSample,
    strategy: ResolvedStrategy,
    deployment: Deployment | None = None,
) -> ScoreResult:
    try:
        return sample.judge(strategy, deployment)
    except PluginError as error:
        echo(error.message, err=True)
        failed = sample.failed(strategy, message_for_page(error))
        return failed if deployment is None else deployment.undecided(failed)


def message_for_page(error: PluginError) -> str:
    """Return what a page says of code that failed: whose it is, without its words.

    An exception may hold what only those shall read who run the server: a path, a key.
    """
    if error.__cause__ is None:  # our own words, about what was returned
        return error.message
    component, _, _ = error.message.partition(": ")
    return f"Something broke: {component}; the terminal that serves this page says what"


def _visit(state: AppState, ticket_id: str) -> ScoreTicket:
    ticket: ScoreTicket | None = state.queue.visit(ticket_id)
    if ticket is None:
        abort(404, "this answer is not kept any more: judge the conversation again")
    return ticket


def _finished_page(state: AppState, ticket: ScoreTicket) -> PageResponse:
    error = ticket.error
    if isinstance(error, PluginError):
        status = 400 if error.__cause__ is None else 500
        message = message_for_page(error)
        return _render_page(state, ticket.form, error=message), status
    if isinstance(error, SafebenchError):
        return _render_page(state, ticket.form, error=error.message), 400
    if error is not None:
        abort(500)
    return _render_page(state, ticket.form, view=ticket.result), 200


def _waiting_page(state: AppState, ticket: ScoreTicket) -> str:
    return render_template(
        "waiting.html",
        ticket=ticket,
        ahead=state.queue.ahead_of(ticket),
        seconds=int(ticket.running_for),
        loading_classifier=state.loading_classifier,
    )


def _judge_others(
    sample: RecordedSample, strategies: Sequence[ResolvedStrategy]
) -> Iterator[ScoreResult]:
    """Yield the results of other strategies; one that does not apply is left out."""
    for strategy in strategies:
        with suppress(SafebenchError):
            yield _judge(sample, strategy)


def _tree_views(sample: RecordedSample) -> tuple[tuple[str, TreeView], ...]:
    from safebench.score.tree_view import build_tree_views

    kinds = dict(sample.evidence.items())
    if VerdictTree not in kinds or sample.trace.error is not None:
        return ()
    try:
        return build_tree_views(
            sample.evidence[VerdictTree], sample.classifier.token_bytes
        )
    # a plugin's tree may be any: the verdict is shown without it
    except Exception as error:  # noqa: BLE001
        echo(f"no tree of {sample.chosen.label}: {describe_error(error)}", err=True)
        return ()


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
        examples=() if view or error or form.prompt else EXAMPLES,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreScale:
    """A score on its scale; positions are in per cent of its length.

    `low` and `high` are the bounds, if they are far enough apart to be seen, and `ends`
    the words at the ends of the scale.
    """

    score: float
    threshold: float | None
    low: float | None
    high: float | None
    ends: tuple[str, str]
    caption: str


def score_scale(result: ScoreResult) -> ScoreScale | None:
    """Return where to draw the score of a result; None if it has none."""
    if result.score is None:
        return None
    low, high = (
        None if value is None else to_percent(display_position(result, value))
        for value in (result.lower, result.upper)
    )
    if low is None or high is None or high - low < _MIN_BOUND_WIDTH:
        low = high = None
    has_ends = is_bounded(result)
    return ScoreScale(
        score=to_percent(display_position(result, result.score)),
        threshold=_threshold_position(result),
        low=low,
        high=high,
        ends=("0", "1") if has_ends else ("better", "worse"),
        caption=_caption(result),
    )


def _threshold_position(result: ScoreResult) -> float | None:
    if result.threshold is None:
        return None
    return to_percent(display_position(result, result.threshold))


def to_percent(share: float) -> float:
    """Return a share as per cent, to a hundredth."""
    return round(100 * min(1.0, max(0.0, share)), 2)


def _caption(result: ScoreResult) -> str:
    """Return the drawing in words, for those who do not see it."""
    assert result.score is not None
    text = format_score(result) + describe_threshold(result)
    if result.lower is not None and result.upper is not None:
        text += (
            f", bounds {format_number(result.lower)} to {format_number(result.upper)}"
        )
    return text
