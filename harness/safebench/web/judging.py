"""The front page: a form, and the answer to it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Blueprint, render_template, request

from safebench.errors import SafebenchError
from safebench.evidence import VerdictTree

from .form import MOST_CHARACTERS, Filled, TooLongError
from .offers import groups
from .picture import scale

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.asking import Answer
    from safebench.asking.desk import Recorded
    from safebench.engine.outline import Outline
    from safebench.run.grid import ChosenStrategy

    from .picture import Scale
    from .site import Site

Page = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An answer with its pictures, and what other strategies say of the same."""

    answer: Answer
    scale: Scale | None
    outline: Outline | None
    others: tuple[Answer, ...]


def pages(site: Site) -> Blueprint:
    """Return the front page of a site."""
    blueprint = Blueprint("judge", __name__)

    @blueprint.get("/")
    def ask() -> Page:
        return _page(site, Filled.read(request.args)), 200

    @blueprint.post("/")
    def judge() -> Page:
        filled = Filled.read(request.form)
        try:
            result = respond(site, filled)
        except TooLongError as error:
            return _page(site, Filled(), error=error.message), 413
        except SafebenchError as error:
            return _page(site, filled, error=error.message), 400
        return _page(site, filled, result=result), 200

    return blueprint


def respond(site: Site, filled: Filled) -> Result:
    """Judge what was sent; raises `SafebenchError` with what is wrong with it."""
    question = filled.question()
    chosen = site.desk.choose(filled.config(site.offers, site.plugins))
    recorded = site.desk.record(chosen, question)
    first, *others = chosen.strategies
    answer = recorded.read(first)
    return Result(
        answer=answer,
        scale=scale(answer),
        outline=_outline(recorded),
        others=tuple(_each(recorded, others)),
    )


def _each(recorded: Recorded, strategies: Sequence[ChosenStrategy]) -> Iterator[Answer]:
    """Read by other strategies; one that does not apply is left out."""
    for strategy in strategies:
        with suppress(SafebenchError):
            yield recorded.read(strategy)


def _outline(recorded: Recorded) -> Outline | None:
    from safebench.engine.outline import outline

    kinds = dict(recorded.evidence.items())
    if VerdictTree not in kinds or recorded.trace.error is not None:
        return None
    return outline(recorded.evidence[VerdictTree], recorded.model.pieces)


def _page(
    site: Site, filled: Filled, result: Result | None = None, error: str = ""
) -> str:
    return render_template(
        "judge.html",
        offers=site.offers,
        groups=groups(site.offers),
        awaited=site.awaited,
        filled=filled,
        result=result,
        error=error,
        most=MOST_CHARACTERS,
    )
