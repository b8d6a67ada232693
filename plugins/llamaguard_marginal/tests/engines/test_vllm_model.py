"""What vLLM answers is checked: a stand-in for the library, with its known faults."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from safebench.errors import ModelError, OptionError
from safebench_llamaguard_marginal.engines.catalog import ENGINES
from safebench_llamaguard_marginal.options import GuardOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Answer = dict[int, float]

V = 10
LOGP = np.log(np.arange(1, V + 1) / 55)  # token 9 is the likeliest, with 10 / 55


class FakeParams:
    """The parameters of a request, as far as they are set."""

    logprob_token_ids: Sequence[int] | None = None

    def __init__(self, **given: Any) -> None:
        vars(self).update(given)


class FakeLLM:
    """Answers by `LOGP`, after what `spoil` makes of an answer."""

    width = V
    spoil: Callable[[int, Answer, FakeParams], Answer] | None = None

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.batches: list[list[FakeParams]] = []
        self.ended = 0
        config = SimpleNamespace(
            max_model_len=given["max_model_len"], get_vocab_size=lambda: self.width
        )
        self.llm_engine = SimpleNamespace(
            vllm_config=SimpleNamespace(model_config=config),
            engine_core=SimpleNamespace(shutdown=self._end),
        )

    def _end(self) -> None:
        self.ended += 1

    def generate(
        self, prompts: Sequence[Any], params: Sequence[FakeParams], **_: Any
    ) -> list[Any]:
        """Answer each prompt in its place."""
        self.batches.append(list(params))
        return [
            self._output(i, prompt["prompt_token_ids"], own)
            for i, (prompt, own) in enumerate(zip(prompts, params, strict=True))
        ]

    def _output(self, i: int, prompt: Sequence[int], params: Any) -> Any:
        ids = params.logprob_token_ids or range(V - params.logprobs, V)
        answer = {token: float(LOGP[token]) for token in [*ids, V - 1]}
        if self.spoil:
            answer = self.spoil(i, answer, params)
        entries = {t: SimpleNamespace(logprob=p) for t, p in answer.items()}
        completion = SimpleNamespace(logprobs=[entries], token_ids=[V - 1])
        return SimpleNamespace(prompt_token_ids=list(prompt), outputs=[completion])


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> type[FakeLLM]:
    """Put the stand-in in the place of the library; return its class."""
    own = type("OwnLLM", (FakeLLM,), {})
    library = ModuleType("vllm")
    vars(library).update(LLM=own, SamplingParams=FakeParams, __version__="0.0")
    monkeypatch.setitem(sys.modules, "vllm", library)
    return own


def load(**options: Any) -> Any:
    """Load a guard of ten tokens."""
    text = SimpleNamespace(max_position_embeddings=4096)
    files: Any = SimpleNamespace(
        source=SimpleNamespace(label="tiny", folder="/tiny"),
        config=SimpleNamespace(get_text_config=lambda: text),
        token_bytes=[bytes([i]) for i in range(V)],
        eos=frozenset({0}),
    )
    return ENGINES["vllm"].code()(GuardOptions(engine="vllm", **options), files)


def test_the_likeliest_tokens_bound_the_others(llm: type[FakeLLM]) -> None:
    """K are listed, raw; the K-th bounds what is not."""
    listed = load(top_logprobs=3).top_tokens([[1, 2], [3]])

    assert (np.sort(listed.ids, axis=1) == [[7, 8, 9]] * 2).all()
    assert_allclose(np.sort(listed.logp, axis=1), [LOGP[7:]] * 2)
    assert_allclose(listed.max_unlisted, LOGP[7])


def test_kinds_of_requests_are_never_in_one_batch(llm: type[FakeLLM]) -> None:
    """A level is one batch, of one kind; contexts of a state share their parameters."""
    model = load(top_logprobs=3)
    state, other = (0, 4), (2,)
    listed = model.look_up([[1], [2], [3]], [state, other, state])
    model.top_tokens([[1], [2]])

    (by_id, top) = model._llm.batches
    assert [p.logprob_token_ids for p in by_id] == [[0, 4], [2], [0, 4]]
    assert by_id[0] is by_id[2]
    assert [p.logprob_token_ids for p in top] == [None, None]
    assert all(p.temperature == 0 and p.max_tokens == 1 for p in [*by_id, *top])
    assert {0, 4, 9} == set(listed.ids[0].tolist())
    assert_allclose(listed.max_unlisted, LOGP[9])
    assert model.forward_calls == 2


def test_padding_is_no_token_of_probability_0(llm: type[FakeLLM]) -> None:
    """Token 0 fills up narrower answers of a step, where nobody asked for it."""
    llm.spoil = staticmethod(lambda _, answer, __: answer | {0: -9999.0})
    listed = load(top_logprobs=3).look_up([[1], [1]], [(4, 5), (0, 4)])

    assert 0 not in listed.ids[0]
    assert 0 in listed.ids[1]


def test_answers_that_lack_tokens_are_asked_for_again(llm: type[FakeLLM]) -> None:
    """Two entries in place of K, as of kinds mixed in one step: asked once more."""
    tries: list[int] = []

    def spoil(i: int, answer: Answer, _: FakeParams) -> Answer:
        tries.append(i)
        return {9: -0.1, 0: -9999.0} if len(tries) == 2 else answer

    llm.spoil = staticmethod(spoil)
    model = load(top_logprobs=3)
    listed = model.top_tokens([[1], [2], [3]])

    assert [len(batch) for batch in model._llm.batches] == [3, 1]
    assert_allclose(np.sort(listed.logp, axis=1), [LOGP[7:]] * 3)


def test_an_engine_that_keeps_answering_wrongly_is_an_error(
    llm: type[FakeLLM],
) -> None:
    """After three tries the run ends, and no sample is judged by what is missing."""
    llm.spoil = staticmethod(lambda _, __, ___: {9: -0.1})
    model = load(top_logprobs=3)

    with pytest.raises(ModelError, match=r"2 of 2 answers .* do not hold the tokens"):
        model.top_tokens([[1], [2]])
    assert len(model._llm.batches) == 3


def test_logits_in_place_of_log_probabilities_are_refused(llm: type[FakeLLM]) -> None:
    """A value above 0 is none: vLLM can be told to give raw logits."""
    llm.spoil = staticmethod(
        lambda _, answer, __: {t: p + 9 for t, p in answer.items()}
    )

    with pytest.raises(ModelError, match="these are logits"):
        load(top_logprobs=3).top_tokens([[1]])


def test_nan_is_the_answer_of_its_sample(llm: type[FakeLLM]) -> None:
    """It is not asked again, and the other rows are as they are."""
    llm.spoil = staticmethod(
        lambda i, answer, _: dict.fromkeys(answer, np.nan) if i else answer
    )
    listed = load(top_logprobs=3).top_tokens([[1], [2]])

    assert not np.isnan(listed.logp[0]).any()
    assert np.isnan(listed.logp[1]).all()


def test_another_vocabulary_is_refused(llm: type[FakeLLM]) -> None:
    """Ids of another width would be those of other tokens."""
    llm.width = 12
    with pytest.raises(ModelError, match="has 10 tokens by its files, and 12 in vLLM"):
        load()


@pytest.mark.parametrize(
    ("options", "longest"), [({}, 4096), ({"max_length": 1000}, 1512)]
)
def test_an_engine_takes_no_longer_prompts_than_it_is_given(
    llm: type[FakeLLM],
    options: dict[str, Any],
    longest: int,
) -> None:
    """The longest request is the longest prompt with room for its verdict."""
    model = load(**options)

    assert model.max_tokens == longest
    assert model._llm.given["max_logprobs"] == 128
    assert model._llm.given["enable_prefix_caching"]


def test_a_failing_engine_is_one_line(
    llm: type[FakeLLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What vLLM raises names the model, in a line, at the start and in the run."""

    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("No available memory for the cache blocks.\nTry this.")

    model = load()
    monkeypatch.setattr(llm, "generate", fail)
    with pytest.raises(ModelError, match="vLLM failed: No available memory"):
        model.top_tokens([[1]])
    monkeypatch.setattr(llm, "__init__", fail)
    with pytest.raises(ModelError, match="engine=hf may load it") as error:
        load()
    assert "\n" not in str(error.value)


def test_it_is_closed_once(llm: type[FakeLLM]) -> None:
    """Its processes are ended, and closing again does nothing."""
    model = load()
    engine = model._llm
    model.close()
    model.close()

    assert engine.ended == 1


def test_a_device_is_not_chosen_here() -> None:
    """It runs on the device that the package was built for."""
    with pytest.raises(OptionError, match="built for"):
        GuardOptions(engine="vllm", device="cuda")
    with pytest.raises(OptionError, match="float64"):
        GuardOptions(engine="vllm", dtype="float64")
