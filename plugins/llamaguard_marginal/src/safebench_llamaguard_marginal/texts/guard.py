"""A guard behind a server that gives texts alone: what it wrote, and samples of it."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.classifiers import Classifier, Recording, Trace
from safebench.errors import ModelError, OptionError
from safebench_llamaguard_marginal.engines.conversations import (
    Conversations,
    no_conversation,
)
from safebench_llamaguard_marginal.engines.endpoint import Endpoint
from safebench_llamaguard_marginal.engines.server_identity import (
    beside_earlier,
    server_state,
)
from safebench_llamaguard_marginal.profile.answer import (
    answer_grammar,
    one_sided_answer,
)
from safebench_llamaguard_marginal.prompt.chat_template import (
    PromptError,
    rendered_together,
)

from .evidence import LENGTH, VerdictTexts
from .parts import NO_QUESTIONS, UNCHECKED, load_parts
from .reading import ReadText, TextReader
from .requests import RequestForm, Sampling, seed_of
from .server import Question, facts_of, open_text_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from safebench.evidence import Evidence
    from safebench.records import Sample
    from safebench.services import Reply
    from safebench_llamaguard_marginal.options import GuardOptions
    from safebench_llamaguard_marginal.prompt.prompt_builder import PromptBuilder

    from .answers import TextAnswer
    from .requests import Prompt

ANSWER_TOKENS = 128  # more than any verdict has
_SHARD = 16  # samples, each of 1 + k requests: what an interruption costs
_CHECKS = 8  # requests that show what a server takes, at most, of one that is usual
_OTHER_PROMPT = (
    "the server made another prompt of it than the profile here: by its length in "
    "tokens, or by its token ids"
)
_MIXED_ROLES = (
    "this guard answers in another form where a turn of this role is judged, and most "
    "of the samples beside this one are of the other; judge them in a data set of "
    "their own"
)


@dataclass(frozen=True, slots=True)
class AskedSample:
    """What is asked about a sample: its prompts, and the ids they should come to.

    There is a prompt for each question. `ids` are empty where no tokenizer is here;
    `error` says why nothing is asked.
    """

    prompts: tuple[Prompt, ...] = ()
    ids: tuple[Sequence[int], ...] = ()
    error: str | None = None


@dataclass(slots=True)
class Answered:
    """The answers to one sample, as they were read, and what they took."""

    error: str | None
    answers: list[TextAnswer] = field(default_factory=list)
    read: list[ReadText] = field(default_factory=list)
    seconds: float = 0.0

    def trace(self) -> Trace:
        """Return the sample's trace; its text is the greedy one."""
        if self.error is not None:
            return Trace(error=self.error)
        return Trace(
            tokens_in=sum(max(a.prompt_tokens, 0) for a in self.answers),
            tokens_out=sum(max(a.tokens, 0) for a in self.answers),
            forward_passes=float(len(self.answers)),
            seconds=self.seconds,
            raw=self.answers[0].text,
        )


class TextGuard(Classifier):
    """A guard of which texts are known: one greedy verdict, and `samples` others."""

    @rendered_together()
    def __init__(self, options: GuardOptions) -> None:
        parts = load_parts(options)
        options = parts.options
        super().__init__(options)
        self.parts = parts
        profile = parts.profile
        markers = profile.reasoning.marker if profile.reasoning else ()
        self.readers = self._readers_by_role(markers)
        self.reader = next(iter(self.readers.values()))
        self.budget = options.max_new_tokens or ANSWER_TOKENS
        if profile.reasoning:
            self.budget += options.reasoning_tokens or profile.reasoning.budget
        self.conversations: Conversations | None = None
        self._earlier: Mapping[str, Any] = {}  # what was stored beside evidence
        self.shard_size = affordable_shard(options, len(parts.questions) or 1)
        self.server = self._open_server()
        self.notes = self._notes()

    def _readers_by_role(self, markers: Sequence[str]) -> dict[str, TextReader]:
        """Return what reads answers about a turn of each role, shared by equal ones."""
        options, profile = self.options, self.parts.profile
        by_grammar: dict[str, TextReader] = {}
        readers = {}
        for role, answer in profile.answers.items():
            grammar = answer_grammar(
                answer,
                self.parts.policy,
                variants=profile.data.positive,
                mode=options.grammar,
                ignore_case=options.ignore_case,
                where=f"profile {profile.where}",
            )
            for task in profile.data.tasks[role]:
                if problem := one_sided_answer(grammar, task):
                    raise OptionError(f"profile {profile.where}: {task}: {problem}")
            reader = by_grammar.setdefault(repr(grammar), TextReader(grammar, markers))
            readers[role] = reader
        return readers

    def _open_server(self) -> Any:
        options, prompts = self.options, self.parts.prompts
        variables: dict[str, Any] = {}
        problem: OptionError | None = None
        try:
            self._check_layout()
            self.conversations = Conversations(self.parts.profile, self.parts.policy)
            variables = self.conversations.variables
        except OptionError as error:  # token ids may do
            problem = error
            if options.api == "chat" or not prompts:
                raise
        endpoint = Endpoint(options)
        try:
            server = open_text_server(
                endpoint,
                RequestForm(tokens=self.budget, variables=variables),
                "completions" if problem else options.api,
                encode=_first(prompts).encoder.encode_text if prompts else None,
                probe=self._probe(),
                samples=bool(options.samples),
            )
        except BaseException:
            endpoint.close()
            raise
        if server.api == "completions":
            self.conversations = None
        return server

    def _check_layout(self) -> None:
        """Refuse for conversations what they do not hold: control tokens, criteria."""
        if self.parts.questions:
            name = self.parts.profile.name
            raise OptionError(f"llamaguard: profile {name} {NO_QUESTIONS}")
        if self.parts.format_name.startswith("llama-guard-"):
            raise OptionError(
                f"llamaguard: format={self.parts.format_name} writes control tokens, "
                "which no chat endpoint takes; api=completions would work"
            )

    def _probe(self) -> Prompt | None:
        """Return the token ids of a short prompt; None where there are none."""
        for role in self.readers if self.parts.prompts else ():
            with suppress(PromptError):
                return list(_first(self.parts.prompts).probe_prompt(role).ids)
        return None

    def _notes(self) -> list[str]:
        """Return what whoever reads numbers of these texts has to know."""
        notes = [] if self.parts.prompts else [UNCHECKED]
        if found := dict(self.options.found).get("logprobs"):
            notes.append(f"{found}: texts of verdicts were read")
        if not self.options.served_model:
            name = self.server.model.id
            notes.append(
                f"no served_model was named and {name} answered: with "
                f"served_model={name} no run of another model uses this evidence"
            )
        return [*notes, *(self.server.form.notes if self.options.samples else [])]

    @property
    def label(self) -> str:
        """The model's name for tables."""
        return self.parts.label or self.server.model.id

    @property
    def facts(self) -> Mapping[str, Any]:
        """Who answers, how it is asked, and a hash of what is asked here."""
        return {
            **facts_of(self.server),
            "format": self.parts.format_name or self.parts.profile.name,
            "template": self._template_hash(),
            "max_new_tokens": self.budget,
        }

    @property
    def state(self) -> Mapping[str, Any]:
        """What is stored beside evidence, to know the server again."""
        accepted = dict(self.options.found).get("other_server", "")
        return beside_earlier(server_state(self.server.model), self._earlier, accepted)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Remember which server gave the evidence that is there."""
        self._earlier = state

    @rendered_together()
    def _template_hash(self) -> str:
        """Return the SHA-256 of two whole prompts; "" where none is made here."""
        if not self.parts.prompts:
            return ""
        prompts = []
        for builder in self.parts.prompts.values():
            for role in ("user", "assistant"):
                with suppress(PromptError):
                    prompts.append((role, builder.probe_prompt(role).ids))
        return hashlib.sha256(repr(prompts).encode()).hexdigest()

    def record(
        self,
        samples: Sequence[Sample],
        kinds: frozenset[type[Evidence]],
        on_progress: Callable[[int], None],
    ) -> Recording:
        """Return the texts about every sample, in their order."""
        assert kinds == {VerdictTexts}, f"texts are recorded, and no {kinds}"
        asked, reader = self._asked(samples)
        on_progress(sum(sample.error is not None for sample in asked))
        answered = self._ask(asked, reader, on_progress)
        return Recording(
            evidence={VerdictTexts: self._evidence(answered, reader)},
            traces=[sample.trace() for sample in answered],
        )

    @rendered_together()
    def _asked(self, samples: Sequence[Sample]) -> tuple[list[AskedSample], TextReader]:
        """Return what is asked about each sample, and what reads the answers.

        A shard has one grammar: samples whose answer has another form than most are not
        asked about, and say so.
        """
        readers = [self.readers.get(_role(sample), self.reader) for sample in samples]
        usual = Counter(readers).most_common(1)[0][0] if samples else self.reader
        asked = []
        for sample, reader in zip(samples, readers, strict=True):
            one = self._asked_sample(sample)
            if one.error is None and reader is not usual:
                one = AskedSample(error=_MIXED_ROLES)
            asked.append(one)
        return asked, usual

    def _asked_sample(self, sample: Sample) -> AskedSample:
        by_role, role = self.parts.profile.data.tasks, _role(sample)
        if role not in by_role or sample.task not in by_role[role]:
            return AskedSample(
                error=f"{self.parts.profile.name} does not answer {sample.task} where "
                f"a turn of the {role} is judged"
            )
        built = [builder.build(sample) for builder in self.parts.prompts.values()]
        error = next((part.error for part in built if part.error), None)
        if built and error is None and self.conversations is not None:
            error = no_conversation(built)
        if error is not None:
            return AskedSample(error=error)
        ids = tuple(list(part.prompts[0].ids) for part in built)
        if self.conversations is None:
            return AskedSample(ids, ids)
        try:
            return AskedSample((self.conversations.messages(sample),), ids)
        except PromptError as error:
            return AskedSample(error=str(error))

    def _ask(
        self,
        asked: Sequence[AskedSample],
        reader: TextReader,
        on_progress: Callable[[int], None],
    ) -> list[Answered]:
        """Ask all questions side by side; the answers to a sample stay together."""
        start = time.perf_counter()
        owners = [
            i
            for i, sample in enumerate(asked)
            if sample.error is None
            for _ in range(len(sample.prompts) * self._n_each)
        ]
        questions = [q for s in asked if s.error is None for q in self._questions(s)]
        pending = Counter(owners)

        def on_reply(position: int) -> None:
            pending[owners[position]] -= 1
            on_progress(int(not pending[owners[position]]))

        replies = self.server.ask(questions, on_reply)
        seconds = (time.perf_counter() - start) / max(len(replies), 1)
        own: dict[int, list[Reply[TextAnswer]]] = {}
        for owner, reply in zip(owners, replies, strict=True):
            own.setdefault(owner, []).append(reply)
        answered = [
            self._answered(sample, own.get(i, []), reader, seconds)
            for i, sample in enumerate(asked)
        ]
        self._refuse_other_prompts(answered)
        return answered

    def _questions(self, sample: AskedSample) -> Iterator[Question]:
        """Yield the greedy question of each prompt, then its sampled ones."""
        options = self.options
        for prompt in sample.prompts:
            yield Question(prompt, Sampling())
            for number in range(1, self._n_each):
                seed = seed_of(options.sample_seed, number, prompt)
                sampling = Sampling(temperature=options.sample_temperature, seed=seed)
                yield Question(prompt, sampling)

    @property
    def _n_each(self) -> int:
        """How many answers there are to a prompt."""
        samples: int = self.options.samples
        return 1 + samples

    def _answered(
        self,
        sample: AskedSample,
        replies: Sequence[Reply[TextAnswer]],
        reader: TextReader,
        seconds: float,
    ) -> Answered:
        error = sample.error or next((r.error for r in replies if r.error), None)
        answers = [reply.value for reply in replies if reply.value is not None]
        if error is None and sample.ids:
            prompts = [ids for ids in sample.ids for _ in range(self._n_each)]
            pairs = zip(answers, prompts, strict=True)
            if not all(answer.is_about(ids) for answer, ids in pairs):
                error = _OTHER_PROMPT
        if error is not None:
            return Answered(error)
        read = [read_answer(reader, answer) for answer in answers]
        return Answered(None, answers, read, seconds * len(answers))

    def _refuse_other_prompts(self, answered: Sequence[Answered]) -> None:
        """Raise ModelError where the server made another prompt of every sample."""
        tried = [a for a in answered if a.answers or a.error == _OTHER_PROMPT]
        if tried and all(a.error == _OTHER_PROMPT for a in tried):
            raise ModelError(
                f"{self.server.endpoint.where}: the server's chat template makes other "
                "prompts than the profile here; profile=NAME may name the right one, "
                "and without a model (profile=NAME alone) nothing is compared"
            )

    def _evidence(
        self, answered: Sequence[Answered], reader: TextReader
    ) -> VerdictTexts:
        """Return the answers as evidence; samples that failed have none."""
        options, questions = self.options, self.parts.questions
        answers = [a for sample in answered for a in sample.answers]
        read = [r for sample in answered for r in sample.read]
        texts = [answer.text.encode(errors="replace") for answer in answers]
        counts = [len(sample.answers) for sample in answered]
        lengths = [
            sum(len(answer.text.encode(errors="replace")) for answer in sample.answers)
            for sample in answered
        ]
        arrays: dict[str, Any] = {
            "text": np.frombuffer(b"".join(texts), dtype=np.uint8),
            "length": [len(text) for text in texts],
            "finish": [answer.finish for answer in answers],
            "tokens": [answer.tokens for answer in answers],
            "level": [r.level for r in read],
            "labels_mask": np.array([r.labels_mask for r in read], dtype=np.uint64),
            "malformed": [r.malformed for r in read],
        }
        sampled: dict[str, Any] = {}
        if options.samples:
            arrays["sample"] = [i % self._n_each for n in counts for i in range(n)]
            sampled = {
                "temperature": options.sample_temperature,
                "seeds": self.server.form.seeds,
            }
        return VerdictTexts(
            {name: np.asarray(values) for name, values in arrays.items()},
            offsets={
                "A": np.cumsum([0, *counts]),
                "X": np.cumsum([0, *lengths]),
            },
            meta={
                "grammar": reader.grammar.to_json(),
                "policy": self.parts.policy.id,
                "D": self.budget,
                "samples": options.samples,
                **sampled,
                **({"questions": list(questions)} if questions else {}),
                **({"notes": self.notes} if self.notes else {}),
            },
            size=len(answered),
        )

    def close(self) -> None:
        """Close the connections."""
        if server := vars(self).pop("server", None):
            server.close()


def affordable_shard(options: GuardOptions, n_questions: int = 1) -> int:
    """Return how many samples are stored together: fewer than one command may ask.

    `n_questions` are asked about each sample. Raises OptionError where it may not even
    ask about one.
    """
    limit, each = options.max_requests, n_questions * (1 + options.samples)
    if limit is None:
        return _SHARD
    least = each + _CHECKS
    if limit - options.spent < least:
        raise OptionError(
            f"llamaguard: samples={options.samples} takes {each} requests about each "
            f"prompt, and a few come first, so that max_requests={limit} leaves none "
            f"done; {least + options.spent} or more would work"
        )
    limit -= options.spent
    return max(1, min(_SHARD, (limit - _CHECKS) // each))


def _first(prompts: Mapping[str, PromptBuilder]) -> PromptBuilder:
    return next(iter(prompts.values()))


def read_answer(reader: TextReader, answer: TextAnswer) -> ReadText:
    """Return what an answer says, its reasoning left out.

    Nothing is read of a reasoning that does not end. What a filter of the service put
    in place of an answer is read like any other text.
    """
    text = answer.text if answer.reasoned else reader.verdict_in(answer.text)
    if text is None:
        return ReadText(-1, 0, malformed=False)
    return reader.read(text, cut=answer.finish == LENGTH)


def _role(sample: Sample) -> str:
    """Return the role of the judged turn; "" where there is no such turn."""
    turns = sample.turns
    within = -len(turns) <= sample.target < len(turns)
    return turns[sample.target].role if within else ""
