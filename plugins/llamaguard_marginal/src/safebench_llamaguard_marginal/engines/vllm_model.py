"""A guard in vLLM, in this process: a level of all trees is one batch of requests.

A context is a prompt of token ids after which one token is generated: the answer is
the log-probabilities of that token. Prompts of a tree share their cached prefix.
"""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import ModelError
from safebench.torch_utils import Placement, model_load_errors
from safebench.verdict_tree import ListedTokens
from safebench_llamaguard_marginal.model.architecture import MAX_AUTO_PROMPT_TOKENS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from safebench_llamaguard_marginal.options import GuardOptions

    from .served_guard import GuardFiles

_MAX_IDS = 128  # of one request, in vLLM
_ANSWER_TOKENS = 512  # room for the longest verdict behind the longest prompt
_CPU_BLOCK = 32  # tokens: the smallest block of the prefix cache on a CPU
_TRIES = 3
# Log-probabilities are float32: a probability of 1 may come out a little above.
_ROUNDING = 1e-4
# What the user has set counts. Names as in vLLM's documentation.
_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",  # nothing is reported to anybody
    "VLLM_LOGGING_LEVEL": "ERROR",
    # In this process, and not in one of its own, whose errors are pages of traceback.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # a core may belong to others, too
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB; by default nearly all memory is asked for
}


def load(options: GuardOptions, files: GuardFiles) -> VllmModel:
    """Load a guard into vLLM; raises ModelError, in one line."""
    placement = Placement.choose("auto", options.dtype)
    dtype = str(placement.dtype).removeprefix("torch.")
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with _load_errors(files.source.label):
        import vllm

        llm = vllm.LLM(
            model=str(files.source.folder),
            dtype=dtype,
            seed=0,
            # of a request there is one step: there is nothing to compile for
            enforce_eager=True,
            max_model_len=_max_model_len(options, files.config),
            max_logprobs=max(options.top_logprobs, _MAX_IDS),
            enable_prefix_caching=True,
            disable_log_stats=True,
            use_tqdm_on_load=False,
            **({"block_size": _CPU_BLOCK} if placement.device.type == "cpu" else {}),
        )
    return VllmModel(llm, options, files, placement.device.type, dtype)


def _max_model_len(options: GuardOptions, config: Any) -> int:
    """Return how many tokens a request may have: no more than any prompt needs."""
    wanted = (options.max_length or MAX_AUTO_PROMPT_TOKENS) + _ANSWER_TOKENS
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    return min(wanted, context or wanted)


class VllmModel:
    """A `ServedModel` in vLLM.

    Requests for the likeliest tokens and requests for given ids are never in one batch:
    vLLM answers the first wrongly where they share a step. Every answer is checked.
    """

    def __init__(
        self,
        llm: Any,
        options: GuardOptions,
        files: GuardFiles,
        device: str,
        dtype: str,
    ) -> None:
        import vllm

        self._llm = llm
        self._label = files.source.label
        self._version = str(vllm.__version__)
        self._device, self._dtype = device, dtype
        self._sampling: Any = vllm.SamplingParams
        self.token_bytes: Sequence[bytes] = files.token_bytes
        self.eos = files.eos
        self.forward_calls = 0
        self.notes: tuple[str, ...] = ()
        self.top_k = min(options.top_logprobs, len(files.token_bytes))
        # older versions know no such requests
        self.max_ids = _MAX_IDS if hasattr(self._sampling, "logprob_token_ids") else 0
        model_config = llm.llm_engine.vllm_config.model_config
        self.max_tokens = int(model_config.max_model_len)
        self._check_width(int(model_config.get_vocab_size()))

    @property
    def facts(self) -> Mapping[str, Any]:
        """Version, device and number format."""
        return {
            "device": self._device,
            "dtype": self._dtype,
            "served_by": f"vllm {self._version}",
        }

    def top_tokens(self, contexts: Sequence[Sequence[int]]) -> ListedTokens:
        """List the K likeliest tokens after each context."""
        params = self._request(logprobs=self.top_k)
        rows = self._ask(contexts, [params] * len(contexts), [()] * len(contexts))
        kth = [float(np.partition(logp, -self.top_k)[-self.top_k]) for _, logp in rows]
        return ListedTokens.from_rows(rows, kth)

    def look_up(
        self, contexts: Sequence[Sequence[int]], ids: Sequence[Sequence[int]]
    ) -> ListedTokens:
        """List the tokens of given ids after each context, and the likeliest."""
        shared = {id(own): list(own) for own in ids}
        params = {
            key: self._request(logprobs=len(own), logprob_token_ids=own)
            for key, own in shared.items()
        }
        rows = self._ask(contexts, [params[id(own)] for own in ids], ids)
        return ListedTokens.from_rows(rows, [float(logp.max()) for _, logp in rows])

    @property
    def state(self) -> dict[str, Any]:
        """Nothing: its weights are files here."""
        return {}

    def close(self) -> None:
        """End the engine's processes and free its memory."""
        if llm := vars(self).pop("_llm", None):
            llm.llm_engine.engine_core.shutdown()

    def _request(self, **wanted: Any) -> Any:
        return self._sampling(
            max_tokens=1, temperature=0.0, detokenize=False, ignore_eos=True, **wanted
        )

    def _ask(
        self,
        contexts: Sequence[Sequence[int]],
        params: Sequence[Any],
        ids: Sequence[Sequence[int]],
    ) -> list[tuple[list[int], Any]]:
        """Return ids and log-probabilities of each context, as they were checked.

        What is not as it was asked for is asked again, `_TRIES` times in all.
        """
        rows: list[tuple[list[int], Any] | None] = [None] * len(contexts)
        for _ in range(_TRIES):
            missing = [i for i, row in enumerate(rows) if row is None]
            if not missing:
                break
            outputs = self._generate(
                [contexts[i] for i in missing], [params[i] for i in missing]
            )
            for i, output in zip(missing, outputs, strict=True):
                rows[i] = self._checked(output, contexts[i], ids[i])
        answers = [row for row in rows if row is not None]
        if len(answers) < len(rows):
            raise ModelError(
                f"vLLM {self._version} gave {len(rows) - len(answers)} of {len(rows)} "
                f"answers about {self._label!r} that do not hold the tokens asked for"
            )
        return answers

    def _generate(
        self, contexts: Sequence[Sequence[int]], params: Sequence[Any]
    ) -> list[Any]:
        self.forward_calls += 1
        prompts = [{"prompt_token_ids": list(context)} for context in contexts]
        with _run_errors(self._label):
            outputs: list[Any] = self._llm.generate(
                prompts, list(params), use_tqdm=False
            )
        return outputs

    def _checked(
        self, output: Any, context: Sequence[int], ids: Sequence[int]
    ) -> tuple[list[int], Any] | None:
        """Return ids and log-probabilities of an answer, None if it is no answer.

        NaN is one: the model gives it again.
        """
        if list(output.prompt_token_ids) != list(context):
            return None
        completion = output.outputs[0]
        listed: dict[int, Any] = dict(completion.logprobs[0])
        if ids:
            # Requests of one step are as wide as the widest: token 0, at -inf, fills up
            # the others, and would be taken for one of no probability.
            kept = {*ids, *completion.token_ids}
            listed = {token: entry for token, entry in listed.items() if token in kept}
        complete = set(ids) <= listed.keys() if ids else len(listed) >= self.top_k
        if not complete:
            return None
        logp = np.array([entry.logprob for entry in listed.values()], dtype=np.float64)
        if (logp > _ROUNDING).any():
            raise ModelError(
                f"vLLM {self._version} gave a log-probability of {logp.max():.3g} for "
                f"{self._label!r}: these are logits"
            )
        return [*listed], np.minimum(logp, 0.0)

    def _check_width(self, served: int) -> None:
        if served != len(self.token_bytes):
            raise ModelError(
                f"model {self._label!r} has {len(self.token_bytes)} tokens by its "
                f"files, and {served} in vLLM"
            )


@contextmanager
def _load_errors(label: str) -> Iterator[None]:
    """Turn a failure of the engine to start into one line."""
    with (
        model_load_errors(label, hint=" (engine=vllm; engine=hf may load it)"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", FutureWarning)  # of what it imports itself
        yield


@contextmanager
def _run_errors(label: str) -> Iterator[None]:
    """Turn a failure of the engine while it runs into one line."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        line = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(f"model {label!r}: vLLM failed: {line}") from error
