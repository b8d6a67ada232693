"""OpenAI's moderation API: texts in batches, 13 category scores, its own verdict.

Through the official client, whose types are not trusted: it builds answers without
checking them, so that a missing score would read as None, and later as harmless.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safebench.classifiers import Classifier, Recording, Trace
from safebench.errors import ModelError
from safebench.evidence import Scores
from safebench.policies import load_policy
from safebench.services import MalformedAnswerError, Service, WrongCountError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench.evidence import Evidence
    from safebench.records import Sample
    from safebench.services import Reply

    from .options import ModerationOptions

NAME = "openai_moderation"
CATEGORIES = load_policy("openai-moderation-13").codes
# text-moderation models, of before omni-moderation, do not score these
ONLY_IN_OMNI = frozenset({"illicit", "illicit/violent"})
KEY = "OPENAI_API_KEY"
TEST_TEXT = "Good morning."
SCORE = "largest category score"


@dataclass(frozen=True, slots=True)
class ModerationResult:
    """What the API says of one text; NaN for a category that the model does not have.

    `scores` are those of `CATEGORIES`, in that order.
    """

    scores: tuple[float, ...]
    flagged: bool


@dataclass(frozen=True, slots=True)
class ModerationAnswer:
    """The results of the texts of one request, in their order; errors as texts.

    `model` is what the answer calls the model that gave it.
    """

    model: str
    results: tuple[ModerationResult | str, ...]


class OpenAIModeration(Classifier):
    """Scores the judged turn by itself; the largest category score is the score.

    One request is made before the first sample: it shows whether the key, the address
    and the form of answers are right, and which model stands behind the name. That
    model is part of the evidence key, and an answer of another one ends the run.
    """

    options: ModerationOptions
    # what an interruption may cost is paid for twice: less than the core's 1,024
    shard_size = 128

    def __init__(self, options: ModerationOptions) -> None:
        super().__init__(options)
        self.service = Service(NAME, options)
        self.client = _client(options)
        first = self.service.ask(lambda: self._request([TEST_TEXT]))
        result = first.value.results[0] if first.value else first.error
        if first.value is None or not isinstance(result, ModerationResult):
            raise ModelError(f"{NAME} at {options.address}: {result}")
        self.model = first.value.model
        self.absent = _absent(result)
        if self.absent - ONLY_IN_OMNI:
            raise ModelError(
                f"{NAME} at {options.address}: the answer of {self.model} lacks "
                f"category_scores of {', '.join(sorted(self.absent))}"
            )

    @property
    def facts(self) -> Mapping[str, Any]:
        """The model that answers, and the categories that it does not score."""
        return {
            "device": "service",
            "served_model": self.model,
            "absent_categories": sorted(self.absent),
        }

    @property
    def label(self) -> str:
        """The model that answers, which the name asked for may only stand for."""
        return self.model

    @property
    def state(self) -> Mapping[str, Any]:
        """The requests made so far, those of earlier commands included."""
        return {"requests": self._earlier + self.service.n_requests}

    _earlier = 0

    def restore(self, state: Mapping[str, Any]) -> None:
        """Count on from the requests of earlier commands."""
        self._earlier = int(state.get("requests", 0))

    def record(
        self,
        samples: Sequence[Sample],
        kinds: frozenset[type[Evidence]],
        on_progress: Callable[[int], None],
    ) -> Recording:
        """Return the scores and the verdict of each judged turn."""
        assert kinds == {Scores}, kinds
        texts = [sample.judged.text for sample in samples]
        size = self.options.batch_size
        batches = [texts[start : start + size] for start in range(0, len(texts), size)]
        replies = self.service.ask_all(
            [self._batch_request(batch) for batch in batches],
            lambda position: on_progress(len(batches[position])),
        )
        results: list[ModerationResult | str] = []
        traces: list[Trace] = []
        for batch, reply in zip(batches, replies, strict=True):
            if reply.failure and reply.failure.action == "sample" and len(batch) > 1:
                # one text may be what the service refuses: each is asked alone
                alone = self.service.ask_all(
                    [self._batch_request([text]) for text in batch], lambda _: None
                )
            else:
                alone = []
            self._add(batch, reply, alone, results, traces)
        return Recording(
            evidence={Scores: self._scores(results)},
            traces=traces,
        )

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def _batch_request(self, batch: Sequence[str]) -> Callable[[], ModerationAnswer]:
        return lambda: self._request(batch)

    def _request(self, texts: Sequence[str]) -> ModerationAnswer:
        """Ask about some texts; a batch of another length is no answer."""
        reply = self.client.moderations.with_raw_response.create(
            model=self.options.model, input=list(texts)
        )
        answer = read_answer(reply.http_response.text, len(texts))
        known = getattr(self, "model", answer.model)
        if answer.model != known:
            raise ModelError(
                f"{NAME}: answers came from {known} so far, and now from "
                f"{answer.model}: scores of two models are not comparable. What is "
                "recorded is kept; the same command records all samples again, with "
                "the model that answers then"
            )
        return answer

    def _add(
        self,
        batch: Sequence[str],
        reply: Reply[ModerationAnswer],
        alone: Sequence[Reply[ModerationAnswer]],
        results: list[ModerationResult | str],
        traces: list[Trace],
    ) -> None:
        """Append the results and traces of one batch; costs are shared out."""
        for position in range(len(batch)):
            answer = alone[position] if alone else reply
            index = 0 if alone else position
            result = self._checked(
                answer.value.results[index] if answer.value else answer.error
            )
            share, seconds = reply.attempts / len(batch), reply.seconds / len(batch)
            if alone:
                share, seconds = share + answer.attempts, seconds + answer.seconds
            results.append(result)
            traces.append(
                Trace(
                    forward_passes=share,
                    seconds=seconds,
                    error=result if isinstance(result, str) else None,
                )
            )

    def _checked(self, result: ModerationResult | str | None) -> ModerationResult | str:
        """Refuse a result that lacks a score which the model gave at first."""
        if not isinstance(result, ModerationResult):
            return result or "no answer"
        missing = sorted(_absent(result) - self.absent)
        if missing:
            return f"the answer lacks category_scores of {', '.join(missing)}"
        return result

    def _scores(self, results: Sequence[ModerationResult | str]) -> Scores:
        nothing = ModerationResult((0.0,) * len(CATEGORIES), flagged=False)
        read = [r if isinstance(r, ModerationResult) else nothing for r in results]
        return Scores(
            {
                "values": [[_largest(r.scores), *r.scores] for r in read],
                "flagged": [r.flagged for r in read],
            },
            meta={
                "labels": [SCORE, *CATEGORIES],
                "scale": self.options.scale,
                "threshold": None,
                "tasks": {"prompt_harm": SCORE, "response_harm": SCORE},
                "categories": {code: code for code in CATEGORIES},
                "model": self.model,
            },
        )


def read_answer(text: str, n: int) -> ModerationAnswer:
    """Return the results in an answer about `n` texts.

    Raises `MalformedAnswerError` for one that is not of the documented form as a whole;
    what is wrong with a single result is a text in its place.
    """
    try:
        content = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        if isinstance(error, MalformedAnswerError):
            raise
        raise MalformedAnswerError(f"no JSON, but {text[:60]!r}") from None
    refusal = content.get("error") if isinstance(content, dict) else None
    if refusal:  # gateways send it with status 200
        message = refusal.get("message") if isinstance(refusal, dict) else None
        raise MalformedAnswerError(f"an error: {str(message or refusal)[:200]}")
    results = content.get("results") if isinstance(content, dict) else None
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(results, list) or not isinstance(model, str) or not model:
        raise MalformedAnswerError("no object with `model` and a list of `results`")
    if len(results) != n:
        # whose result is missing cannot be known
        raise WrongCountError(f"{len(results)} results for {n} texts")
    for place, result in enumerate(results):
        # not of the documented form; where it is there, it says whose result this is
        index = result.get("index", place) if isinstance(result, dict) else place
        if index != place:
            raise MalformedAnswerError(
                f"results are not in the order of the texts: index {index!r:.20} at "
                f"place {place}"
            )
    return ModerationAnswer(model, tuple(map(_read_result, results)))


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; of two values of one name neither is known to be right."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise MalformedAnswerError("an object with one name twice")
    return values


def _read_result(result: Any) -> ModerationResult | str:
    scores = result.get("category_scores") if isinstance(result, dict) else None
    if not isinstance(scores, dict):
        return "the answer has no category_scores"
    flagged = result.get("flagged")
    if not isinstance(flagged, bool):
        return f"the answer's `flagged` is {flagged!r:.40}, neither true nor false"
    unknown = sorted(name for name in scores if name not in CATEGORIES)
    if unknown:
        return f"unknown categories in the answer: {', '.join(unknown):.120}"
    values = [scores.get(code) for code in CATEGORIES]
    for code, value in zip(CATEGORIES, values, strict=True):
        if value is not None and not _is_score(value):
            return f"the answer's score of {code} is {value!r:.40}, not in [0, 1]"
    numbers = tuple(math.nan if value is None else float(value) for value in values)
    return ModerationResult(numbers, flagged)


def _is_score(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 <= value <= 1


def _absent(result: ModerationResult) -> frozenset[str]:
    pairs = zip(CATEGORIES, result.scores, strict=True)
    return frozenset(code for code, score in pairs if math.isnan(score))


def _largest(scores: Sequence[float]) -> float:
    return max(score for score in scores if not math.isnan(score))


def _client(options: ModerationOptions) -> Any:
    try:
        import openai
    except ImportError:
        raise ModelError(
            f"{NAME} needs the package openai: "
            "pip install 'safebench-any-guardrail[openai]'"
        ) from None
    key = os.environ.get(KEY)
    if not key:
        raise ModelError(f"{NAME}: no key; set the environment variable {KEY}")
    # retries are ours: so each one is counted, and waits are interruptible
    return openai.OpenAI(
        api_key=key,
        base_url=options.address,
        timeout=options.timeout,
        max_retries=0,
    )
