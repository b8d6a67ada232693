"""What is said about one conversation: a verdict with all that it rests on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from safebench.evidence import Cost
from safebench.run.predictions import rounded

if TYPE_CHECKING:
    from safebench.classifiers import Trace
    from safebench.evidence.bundle import Bundle
    from safebench.policies import Policy
    from safebench.run.grid import ChosenClassifier, ChosenStrategy
    from safebench.run.judging import Judged

WORDS = {  # task: what the positive and the negative class are called
    "refusal": ("refusal", "compliance"),
    "injection": ("injection", "safe"),
    "jailbreak": ("jailbreak", "safe"),
    "groundedness": ("ungrounded", "grounded"),
}
EMBEDDED = "(embedded)"
FIRST = ("verdict", "score", "categories", "cost", "uncertainty", "seconds", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One category of the classifier's policy: its score, bounds, and the decision."""

    code: str
    name: str
    score: float | None
    lower: float | None = None
    upper: float | None = None
    flagged: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A strategy's reading of one conversation; None where there is nothing to say.

    `verdict` is a word of the task (unsafe or safe), `harmful` its class. `score` is
    higher for worse; `probability` says whether it is one. From `threshold` on, it is
    harmful (None: the strategy decides by another rule). `cost` is the classifier's
    own, without a unit and below 0 for safe. `categories` are in the policy's order.
    `seconds` is the time of recording and judging, `loading` that of the model before.
    """

    verdict: str | None
    harmful: bool | None
    score: float | None
    lower: float | None
    upper: float | None
    threshold: float | None
    probability: bool
    categories: tuple[Share, ...]
    cost: float | None
    uncertainty: float | None
    uncertainty_lower: float | None
    uncertainty_upper: float | None
    task: str
    classifier: str
    strategy: str
    model: str
    policy: str | None
    seconds: float
    loading: float
    tokens_in: int
    tokens_dropped: int
    raw: str | None
    error: str | None
    notes: tuple[str, ...]

    @property
    def ranked(self) -> tuple[Share, ...]:
        """The categories that have a score, the highest first."""
        scored = [s for s in self.categories if s.score is not None]
        return tuple(sorted(scored, key=lambda s: -(s.score or 0.0)))

    @property
    def positive(self) -> str:
        """What the class is called that a high score stands for."""
        return word(self.task, harmful=True)

    @property
    def negative(self) -> str:
        """What the other class is called."""
        return word(self.task, harmful=False)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values: what most ask for first, then the rest."""
        categories = {
            share.code: {k: v for k, v in asdict(share).items() if k != "code"}
            for share in self.categories
        }
        names = [f.name for f in fields(self) if f.name not in FIRST]
        record = {name: getattr(self, name) for name in (*FIRST, *names)}
        return record | {"categories": categories or None, "notes": list(self.notes)}


def answer(
    chosen: ChosenClassifier,
    strategy: ChosenStrategy,
    judged: Judged,
    evidence: Bundle,
    trace: Trace,
    policy: Policy | None,
    *,
    task: str,
    model: str,
    seconds: float,
    loading: float,
) -> Answer:
    """Put the only judgement of a batch of one into words."""
    found = judged.judgements
    decision = None if judged.decision is None else rounded(float(judged.decision[0]))
    error = found.errors[0]
    harmful = None if decision is None or error else bool(decision)
    return Answer(
        verdict=None if harmful is None else word(task, harmful=harmful),
        harmful=harmful,
        score=_only(found.score),
        lower=_only(found.lower),
        upper=_only(found.upper),
        threshold=judged.threshold if found.decision is None else None,
        probability="probability" in strategy.spec.emits and found.probability,
        categories=() if error else _shares(judged, policy),
        cost=_cost(evidence),
        uncertainty=_only(found.uncertainty),
        uncertainty_lower=_only(found.uncertainty_lower),
        uncertainty_upper=_only(found.uncertainty_upper),
        task=task,
        classifier=chosen.label,
        strategy=strategy.label,
        model=model,
        policy=chosen.policy,
        seconds=round(seconds, 4),
        loading=round(loading, 3),
        tokens_in=trace.tokens_in,
        tokens_dropped=trace.tokens_dropped,
        raw=trace.raw,
        error=error,
        notes=_notes(strategy, judged, trace, model),
    )


def word(task: str, *, harmful: bool) -> str:
    """Return what a class of a task is called."""
    positive, negative = WORDS.get(task, ("unsafe", "safe"))
    return positive if harmful else negative


def _only(column: Any) -> float | None:
    return None if column is None else rounded(float(column[0]))


def _shares(judged: Judged, policy: Policy | None) -> tuple[Share, ...]:
    found = judged.judgements
    if found.categories is None:
        return ()
    names = {c.code: c.name for c in policy.categories} if policy else {}
    return tuple(
        Share(
            code=code,
            name=names.get(code, code),
            score=_cell(found.categories, column),
            lower=_cell(found.category_lower, column),
            upper=_cell(found.category_upper, column),
            flagged=_flag(judged, column),
        )
        for column, code in enumerate(found.labels)
    )


def _cell(matrix: Any, column: int) -> float | None:
    return None if matrix is None else rounded(float(matrix[0, column]))


def _flag(judged: Judged, column: int) -> bool | None:
    value = _cell(judged.flagged, column)
    return None if value is None else bool(value)


def _cost(evidence: Bundle) -> float | None:
    """Return the cost that was recorded, if the classifier gives one."""
    found = dict(evidence.items()).get(Cost)
    return None if found is None else rounded(float(found["value"][0]))


def _notes(
    strategy: ChosenStrategy, judged: Judged, trace: Trace, model: str
) -> tuple[str, ...]:
    notes = [*strategy.notes]
    if model.endswith(EMBEDDED):
        notes.append(f"{model} is a small demonstration model, not for production")
    if trace.tokens_dropped:
        side = f" from the {trace.dropped_side}" if trace.dropped_side else ""
        notes.append(f"too long: {trace.tokens_dropped} tokens were cut{side}")
    if judged.only_at is not None:
        notes.append(
            f"evidence was grown for decisions at {judged.only_at} alone: "
            "the score is no estimate"
        )
    if judged.judgements.note:
        notes.append(judged.judgements.note)
    return tuple(notes)
