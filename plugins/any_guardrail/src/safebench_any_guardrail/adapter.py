"""The classifier `any_guardrail`: a guard of the library, one answer a sample.

The library's answers are not taken at their word. Some guards report "valid" for an
answer that they could not read, some put another question's verdict into it; `guards`
says what is checked of which.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safebench.classifiers import Classifier, Recording, Trace
from safebench.errors import ModelError, OptionError
from safebench.evidence import Scores
from safebench.policies import load_policy
from safebench.services import (
    MalformedAnswerError,
    Service,
    UnreadableAnswerError,
    hide_secrets,
)

from .guard_options import guard_arguments, guard_reading, library_version

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench.evidence import Evidence
    from safebench.records import Sample

    from .guard_options import BaseGuardOptions
    from .guards import Guard

SCORE = "score"
VERDICT = "verdict"
TEST_PAIR = ("Good morning.", "Good morning! How can I help?")
RESPONSE_TASKS = frozenset({"response_harm", "refusal", "groundedness"})


@dataclass(frozen=True, slots=True)
class GuardAnswer:
    """What one answer says: values by label, the verdict on the task, costs.

    `model` is the model that the service says has answered, None if it does not.
    """

    values: dict[str, float]
    flagged: bool
    model: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    written: str | None = None


class AnyGuardrailClassifier(Classifier):
    """Asks a guard of any-guardrail about the judged turn, or the prompt before it too.

    One answer is asked for before the first sample: it shows whether the guard can be
    used at all, which categories it lists, and which model stands behind its name.
    """

    options: BaseGuardOptions
    shard_size = 128  # what an interruption may cost is paid for twice

    def __init__(self, options: BaseGuardOptions) -> None:
        super().__init__(options)
        library_version()
        self.reading = guard_reading(options)
        self.name = f"any_guardrail, guard={options.guard}"
        if not self.reading.hosted and (options.concurrency or 1) > 1:
            raise OptionError(
                f"{self.name}: a model in this process answers one question at a time; "
                "leave concurrency out"
            )
        self.service = Service(self.name, options, deadline=self.reading.hosted)
        _, (create, self.arguments) = guard_arguments(options)
        self.guard = self._create(create)
        self.categories: tuple[str, ...] = ()
        self.has_score = self.reading.scale is not None and options.score != "none"
        self.served_model: str | None = None
        self._ask_first()

    @property
    def facts(self) -> Mapping[str, Any]:
        """Where the guard runs, which model answers, and what its answers hold."""
        provider = getattr(self.guard, "provider", None)
        device = "service" if self.reading.hosted else "cpu"
        return {
            "device": str(getattr(provider, "device", None) or device),
            "served_model": self.served_model,
            "labels": self.labels,
        }

    @property
    def label(self) -> str:
        """The model that answers, if the service says so."""
        return self.served_model or ""

    @property
    def state(self) -> Mapping[str, Any]:
        """The requests made so far, those of earlier commands included."""
        return {"requests": self._earlier + self.service.n_requests}

    _earlier = 0

    def restore(self, state: Mapping[str, Any]) -> None:
        """Count on from the requests of earlier commands."""
        self._earlier = int(state.get("requests", 0))

    @property
    def labels(self) -> list[str]:
        """The columns: the score or verdict, verdicts a task, categories."""
        alone = [t for t in self.reading.tasks if t not in self.reading.verdicts]
        first = [self.main] if alone else []
        fields = [self.reading.verdicts[t] for t in self.answered_apart]
        return [*first, *dict.fromkeys(fields), *self.categories]

    @property
    def main(self) -> str:
        """The label of what the library calls score, or of its verdict."""
        return SCORE if self.has_score else VERDICT

    @property
    def answered_apart(self) -> list[str]:
        """The tasks that a category of their own answers."""
        return [t for t in self.reading.tasks if t in self.reading.verdicts]

    def record(
        self,
        samples: Sequence[Sample],
        kinds: frozenset[type[Evidence]],
        on_progress: Callable[[int], None],
    ) -> Recording:
        """Return score and verdict of each sample; raises for a task not answered."""
        assert kinds == {Scores}, kinds
        for task in {sample.task for sample in samples} - set(self.reading.tasks):
            raise ModelError(
                f"{self.name}: it answers {', '.join(self.reading.tasks)}, not {task}"
            )
        requests = [self._request(sample) for sample in samples]
        if self.reading.hosted:
            replies = self.service.ask_all(requests, lambda _: on_progress(1))
        else:
            replies = []
            for request in requests:
                replies.append(self.service.ask(request))
                on_progress(1)
        dropped = [self._tokens_dropped(sample) for sample in samples]
        traces = [
            Trace(
                tokens_dropped=n_dropped,
                dropped_side="right" if n_dropped else "",
                tokens_in=reply.value.tokens_in if reply.value else 0,
                tokens_out=reply.value.tokens_out if reply.value else 0,
                forward_passes=reply.attempts,
                seconds=reply.seconds,
                raw=reply.value.written if reply.value else None,
                error=reply.error,
            )
            for reply, n_dropped in zip(replies, dropped, strict=True)
        ]
        scores = self._scores([reply.value for reply in replies])
        return Recording(evidence={Scores: scores}, traces=traces)

    def _create(self, arguments: dict[str, Any]) -> Any:
        """Return the library's guard; raises `ModelError` with what it lacks."""
        from any_guardrail import AnyGuardrail, GuardrailName

        guard: Any
        try:
            guard = AnyGuardrail.create(GuardrailName(self.options.guard), **arguments)
        except Exception as error:
            # Any exception: the library calls what the guard brings, and keys may be
            # part of the text.
            text = " ".join(str(error).split()) or "no reason given"
            keys = ", ".join(self.reading.keys)
            hint = f"; its keys are read from {keys}" if keys else ""
            kind = type(error).__name__
            reason = hide_secrets(f"{kind}: {text}")[:400]
            raise ModelError(f"{self.name}: {reason}{hint}") from error
        client: Any = getattr(guard, "client", None)
        if hasattr(client, "with_options"):
            # retries are ours, so that each one is counted
            guard.client = client.with_options(
                timeout=self.options.timeout, max_retries=0
            )
        return guard

    def _ask_first(self) -> None:
        """Learn from a first answer what all others are compared with."""
        prompt, response = TEST_PAIR
        task = self.reading.tasks[0]
        if not self.reading.pair:
            response = ""
        if response and not RESPONSE_TASKS & set(self.reading.tasks):
            # some judge the response as soon as there is one
            response = response if not self.options.task else ""
        reply = self.service.ask(lambda: self._answer(prompt, response or None))
        if reply.value is None:
            raise ModelError(f"{self.name}: {reply.error}")
        output = reply.value
        if self.has_score and output.score is None:
            if not self.reading.optional_score:
                raise ModelError(f"{self.name}: its answer has no score")
            self.has_score = False
        self.served_model = served_model(output)
        if self.reading.lists_all:
            self.categories = tuple(self._by_name(output))
            if not self.categories:
                raise ModelError(f"{self.name}: its answer lists no categories")
        try:
            # a response's own verdict may be missing where none was given
            self._read(output, task if response or task not in RESPONSE_TASKS else "")
        except ValueError as error:
            raise ModelError(f"{self.name}: {error}") from None

    def _request(self, sample: Sample) -> Callable[[], GuardAnswer]:
        prompt, response = self._texts(sample)

        def request() -> GuardAnswer:
            if prompt is None:
                raise UnreadableAnswerError("a response without the prompt before it")
            return self._read(self._answer(prompt, response), sample.task)

        return request

    def _texts(self, sample: Sample) -> tuple[str | None, str | None]:
        """Return prompt and response; guards of one text read the judged turn alone."""
        judged = sample.judged
        if not self.reading.pair or judged.role != "assistant":
            return judged.text, None
        before = sample.turns[: sample.target % len(sample.turns)]
        prompts = [turn.text for turn in before if turn.role == "user"]
        return (prompts[-1] if prompts else None), judged.text

    def _tokens_dropped(self, sample: Sample) -> int:
        """Return how many tokens of a text the guard cuts off without a word."""
        tokenizer = getattr(getattr(self.guard, "provider", None), "tokenizer", None)
        if not self.reading.truncates or tokenizer is None:
            return 0
        ids = tokenizer(sample.judged.text, truncation=False)["input_ids"]
        return max(0, len(ids) - int(tokenizer.model_max_length))

    def _answer(self, prompt: str, response: str | None) -> Any:
        """Return the library's output about a prompt, or a response to it."""
        from any_guardrail import AnyGuardrail, GuardrailName

        arguments = dict(self.arguments)
        if self.options.guard == "flowjudge":
            name = self.guard.required_inputs[0]
            arguments["inputs"] = [{name: prompt}]
        return AnyGuardrail.evaluate(
            GuardrailName(self.options.guard),
            self.guard,
            prompt,
            response,
            **arguments,
        )

    def _read(self, output: Any, task: str) -> GuardAnswer:
        """Return what an answer says.

        Raises `MalformedAnswerError` for one that lacks what the library would take for
        harmless, `UnreadableAnswerError` for one that holds no verdict.
        """
        reading = self.reading
        raw = _plain(output.raw)
        if reading.required and not _has_path(raw, reading.required):
            raise MalformedAnswerError(f"no {'.'.join(reading.required)}")
        if (output.extra or {}).get("parse_failure"):
            written = " ".join((output.explanation or "").split())
            raise UnreadableAnswerError(f"no verdict in the answer: {written[:120]!r}")
        _check_words(output, reading)
        model = served_model(output)
        if self.served_model is not None and model != self.served_model:
            raise ModelError(
                f"{self.name}: answers came from {self.served_model} so far, and now "
                f"from {model}: scores of two models are not comparable. What is "
                "recorded is kept; the same command records all samples again, with "
                "the model that answers then"
            )
        values: dict[str, float] = {}
        if self.main in self.labels:
            values[self.main] = self._main_value(output)
        by_name = self._by_name(output)
        for other in self.answered_apart:
            field = reading.verdicts[other]
            verdict = by_name[field].triggered if field in by_name else None
            values[field] = math.nan if verdict is None else float(verdict)
            if other == task and verdict is None:
                raise UnreadableAnswerError(f"the answer has no verdict on {field}")
        values |= self._category_values(by_name)
        flagged = not output.valid
        if task in reading.verdicts:
            flagged = values[reading.verdicts[task]] == 1
        usage = output.usage
        explanation = output.explanation
        return GuardAnswer(
            values=values,
            flagged=flagged,
            model=model,
            tokens_in=(usage.prompt_tokens or 0) if usage else 0,
            tokens_out=(usage.completion_tokens or 0) if usage else 0,
            written=hide_secrets(explanation) if explanation else None,
        )

    def _main_value(self, output: Any) -> float:
        """Return the score, higher for worse, or the verdict as 0 or 1."""
        if not self.has_score:
            return float(not output.valid)
        score = output.score
        if score is None:
            raise UnreadableAnswerError("the answer has no score")
        if not math.isfinite(score) or not 0 <= score <= 1:
            raise UnreadableAnswerError(
                f"the answer's score is {score!r}, not in [0, 1]"
            )
        if self.options.score == "safety":
            return 1.0 - float(score)
        self._check_direction(float(score), output.valid)
        return float(score)

    def _check_direction(self, score: float, valid: bool) -> None:
        """Refuse a score on the other side of the cut than the verdict."""
        cut = self.reading.cut
        if cut == "threshold":
            cut = getattr(self.guard, "threshold", None)
        if cut is None:
            return
        if (valid and score > cut) or (
            not valid and score < cut and self.reading.cut_is_all
        ):
            verdict = "harmless" if valid else "harmful"
            raise UnreadableAnswerError(
                f"score {score:.6g} and verdict {verdict} contradict each other at the "
                f"cut {cut:g}: the score is not what the library documents"
            )

    def _category_values(self, by_name: Mapping[str, Any]) -> dict[str, float]:
        """Return the categories' scores; raises where the list is not as at first."""
        if not self.categories:
            return {}
        missing = [
            name
            for name in self.categories
            if name not in by_name or by_name[name].score is None
        ]
        unknown = sorted(by_name.keys() - set(self.categories))
        if missing or unknown:
            what = f"lacks {', '.join(missing)}" if missing else "has more categories: "
            raise MalformedAnswerError(f"the answer {what}{', '.join(unknown)}")
        return {name: float(by_name[name].score) for name in self.categories}

    def _scores(self, readings: Sequence[GuardAnswer | None]) -> Scores:
        labels = self.labels
        reading = self.reading
        scale = "ordinal"
        if self.main in labels and self.has_score:
            scale = str(reading.scale)
            if self.options.score == "safety":
                scale = "score"
        two_valued = set(reading.verdicts.values()) | {VERDICT}
        return Scores(
            {
                "values": [
                    [r.values[label] if r else 0.0 for label in labels]
                    for r in readings
                ],
                "flagged": [bool(r and r.flagged) for r in readings],
            },
            meta={
                "labels": labels,
                "scale": scale,
                "threshold": None,
                "tasks": {t: reading.verdicts.get(t, self.main) for t in reading.tasks},
                "categories": self._policy_codes(),
                "verdicts": [label for label in labels if label in two_valued],
                "model": self.served_model,
            },
        )

    def _by_name(self, output: Any) -> dict[str, Any]:
        """Return an answer's categories by name, or by code where a policy has them.

        OpenAI's client names a category as an attribute (self_harm_intent), and by its
        own name as well, where that is another: one category is one column.
        """
        codes: dict[str, str] = {}
        if self.options.policy is not None:
            codes = {_attribute(c): c for c in load_policy(self.options.policy).codes}
        return {codes.get(_attribute(c.name), c.name): c for c in output.categories}

    def _policy_codes(self) -> dict[str, str]:
        """Return {category: code} where the categories are those of a policy here."""
        if self.options.policy is None:
            return {}
        return {name: name for name in self.categories}


def served_model(output: Any) -> str | None:
    """Return the model that an answer says it comes from, None if it does not say."""
    model = getattr(output.raw, "model", None)
    if model is None and isinstance(output.raw, dict):
        model = output.raw.get("model")
    return model if isinstance(model, str) and model else None


def _check_words(output: Any, reading: Guard) -> None:
    """Refuse a text that is no verdict, where the library takes it for harmless."""
    if not reading.words:
        return
    written = (output.explanation or "").strip()
    first = written.split()[0].strip(".,:").lower() if written else ""
    if first not in reading.words:
        raise UnreadableAnswerError(f"no verdict in the answer: {written[:120]!r}")


def _plain(raw: Any) -> Any:
    """Return a raw answer as dictionaries, where it is an object that can be one."""
    return raw.model_dump() if hasattr(raw, "model_dump") else raw


def _has_path(raw: Any, path: Sequence[str]) -> bool:
    for name in path:
        if not isinstance(raw, dict) or raw.get(name) is None:
            return False
        raw = raw[name]
    return True


def _attribute(name: str) -> str:
    return name.replace("/", "_").replace("-", "_")
