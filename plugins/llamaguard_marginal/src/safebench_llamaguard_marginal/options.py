"""The options of `llamaguard`: which model, which prompt, how large a tree."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from math import inf
from typing import Literal

from safebench.errors import OptionError, did_you_mean
from safebench.verdict_tree import ENGINE_VERSION
from safebench_llamaguard_marginal.engines.catalog import ENDPOINT, ENGINES, HF
from safebench_llamaguard_marginal.engines.endpoint_options import EndpointOptions

# Versions of the recorded trees that can be recorded still; the lean ones are today's,
# and FULL_VERSION is the one before, in which all that is forced is followed.
FULL_VERSION = 3
TREE_VERSIONS = (2, FULL_VERSION, ENGINE_VERSION)
_FEWEST_LISTED = 2  # tokens: of one alone nobody knows how near the next one is
AttentionKernel = Literal[
    "auto",
    "sdpa",
    "eager",
    "flash_attention_2",
    "flash_attention_3",
    "flash_attention_4",
]
PromptFormatName = Literal[
    "auto", "chat", "instruct", "llama-guard-1", "llama-guard-2", "llama-guard-3"
]


def sampled_reasonings(reasoning: str) -> int:
    """Return how many reasonings the option `reasoning` samples, 0 for none.

    Raises OptionError for what is neither a number nor auto, greedy, off.
    """
    if reasoning in ("auto", "greedy", "off"):
        return 0
    if not (reasoning.isascii() and reasoning.isdigit() and int(reasoning)):
        raise OptionError(
            f"llamaguard: reasoning={reasoning} is none of auto, greedy, off, or how "
            f"many are sampled (8){did_you_mean(reasoning, ('auto', 'greedy', 'off'))}"
        )
    return int(reasoning)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardOptions(EndpointOptions):
    """What to load and what to record; 0 and "auto" choose by model and device.

    `model` is a hub id, a folder, or a guard inside this plugin by its name ("" is the
    first, ``tiny-guard``; others are ``tiny-guard-2`` and ``tiny-guard-3``), `adapter`
    a PEFT adapter on top of it. `profile` says how the model is asked and what it
    answers: the name of a family, a file, or what its template and class fit; `policy`
    is another taxonomy than the profile's, by id or file, and `criteria` are the codes
    of it that a guard is asked about one by one (default: all), or which of its own
    criteria it is asked about (Granite Guardian's ``social_bias``). `format` is what
    `profile` was called in 0.1. `max_length` is in prompt tokens; a longer judged turn
    loses its ``left`` or ``right`` end, or is read in overlapping ``windows``, of which
    the worst counts. `batch_tokens` bounds a batch, padding included. `eps`,
    `max_nodes`, `max_new_tokens` and `grammar` shape the tree: a ``strict`` verdict is
    as the guard was trained to write it, ``lenient`` takes the first level word in any
    text (with `ignore_case` in upper or lower case).

    `reasoning` is for guards that reason before their verdict: ``greedy`` reads the
    verdict after the one reasoning that the model would write, a number K the mean over
    K sampled ones (`reasoning_temperature`, `reasoning_seed`), ``off`` the form without
    (``auto``: as the profile says). `reasoning_tokens` is how long one may be (0: as
    the profile says); one that does not end is a failed sample.

    `layout` says how trees go through the network: ``tree`` is one row a prompt and a
    mask, ``rows`` one row a node, for kernels that take no mask and for layers with
    windows. `draft` reads the canonical verdicts after an opener along with the prompt
    (``off``: not; ``auto``: after the likeliest one, except on a CPU). `refill` admits
    prompts of the same shard to a batch of which fewer than half are unfinished.

    `stop` is the rule that ends the expansion of a tree: ``eps`` expands every node of
    at least that probability; the others expand the likeliest nodes first, `width` at a
    time, until `max_nodes`, bounds closer than `delta` (``gap``), or decisions at `tau`
    that cannot change (``certify``). `mc_samples` verdicts a tree are sampled from the
    mass that was left out. `record` is ``lean``, without what is forced after openers
    that a level follows once in a million times, with exponentials in float32 and other
    batches, on a CPU three tenths quicker (hf alone); or ``full``, as versions before
    did (``auto``: lean where it can be; what `engine` names decides, too).

    `engine` says where the guard runs: ``hf`` is a network in this process, ``vllm``
    an engine that serves it. Engines list the `top_logprobs` likeliest tokens (K);
    `unlisted` says how the others are bounded: ``rest`` by all probability that is
    left, ``cap`` by that of the K-th token too, ``ids`` by asking for every token that
    a verdict could go on with, which is exact (``auto``: that, where it is possible). A
    number is the version whose trees are recorded (0: today's; hf): 4 is lean, 3 full,
    2 also reads a level inside of a longer word. `original_*` are the parameters
    of the search behind ``compat=original``; `seed_*`, their names in 0.1, are still
    accepted. `given` are the names of the options that the user set, which a profile's
    `defaults` do not replace.
    """

    model: str = ""
    revision: str = ""
    adapter: str = ""
    dtype: Literal["auto", "float32", "bfloat16", "float16", "float64"] = "auto"
    device: str = "auto"
    attention: AttentionKernel = "auto"
    layout: Literal["auto", "tree", "rows"] = "auto"
    profile: str = "auto"
    policy: str = ""
    criteria: tuple[str, ...] = ()
    format: PromptFormatName = "auto"
    max_length: int = 0
    truncation: Literal["left", "right", "windows"] = "left"
    batch_tokens: int = 0
    draft: str = "auto"
    refill: Literal["off", "on"] = "off"
    eps: float = 1e-3
    max_nodes: int = 256
    max_new_tokens: int = 0
    grammar: Literal["strict", "lenient"] = "strict"
    ignore_case: bool = False
    stop: Literal["eps", "max_nodes", "gap", "certify"] = "eps"
    delta: float = 0.01
    tau: float = 0.5
    width: int = 16
    mc_samples: int = 0
    mc_seed: int = 0
    record: Literal["auto", "lean", "full"] = "auto"
    engine: int | str = 0
    top_logprobs: int = 64
    unlisted: Literal["auto", "rest", "cap", "ids"] = "auto"
    reasoning: str = "auto"
    reasoning_tokens: int = 0
    reasoning_temperature: float = 1.0
    reasoning_seed: int = 0
    original_top_p: float = 0.99
    original_eps: float = 0.01
    original_max_new_tokens: int = 20
    seed_top_p: float | None = None
    seed_eps: float | None = None
    seed_max_new_tokens: int | None = None
    given: tuple[str, ...] = field(default=(), metadata={"holds_given": True})

    def __post_init__(self) -> None:
        EndpointOptions.__post_init__(self)
        for name in ("top_p", "eps", "max_new_tokens"):
            value = getattr(self, f"seed_{name}")
            if value is not None:  # moved, so that equal settings are equal options
                object.__setattr__(self, f"original_{name}", value)
                object.__setattr__(self, f"seed_{name}", None)
        self._check_reasoning()
        for name in (
            "max_length",
            "batch_tokens",
            "max_new_tokens",
            "mc_samples",
            "reasoning_tokens",
        ):
            if getattr(self, name) < 0:
                raise OptionError(f"llamaguard: {name} is a count, 0 or more")
        self._check_engine()
        self._check_record()
        if self.layout == "tree" and self.attention.startswith("flash"):
            raise OptionError(
                f"llamaguard: attention={self.attention} takes no mask of a tree; "
                "layout=rows would work"
            )
        self._check_tree()

    @property
    def runs_on(self) -> str:
        """The name of the engine: ``hf``, or one of `ENGINES`."""
        return self.engine if isinstance(self.engine, str) else HF

    @property
    def has_network(self) -> bool:
        """Whether this process loads the weights: a server has its own."""
        return self.runs_on != ENDPOINT

    @property
    def has_files(self) -> bool:
        """Whether a tokenizer and a configuration are here: texts may need none."""
        return not self.reads_texts or bool(self.model) or self.profile == "auto"

    @property
    def is_lean(self) -> bool:
        """Whether trees are recorded without what hardly any verdict follows."""
        if self.record != "auto":
            return self.record == "lean"
        return self.engine in (0, ENGINE_VERSION)  # not of a server, nor an earlier one

    @property
    def tree_version(self) -> int:
        """The version whose trees are recorded."""
        if isinstance(self.engine, int) and self.engine:
            return self.engine
        return ENGINE_VERSION if self.is_lean else FULL_VERSION

    def _check_record(self) -> None:
        """Raise OptionError where `record` and `engine` say different things."""
        if self.record == "lean" and self.runs_on != HF:
            raise OptionError(
                "llamaguard: record=lean is for a network of this process, not "
                f"engine={self.runs_on}; record=full would work"
            )
        lean = self.engine == ENGINE_VERSION
        numbered = isinstance(self.engine, int) and self.engine
        if numbered and self.is_lean != lean:
            raise OptionError(
                f"llamaguard: engine={self.engine} records {'lean' if lean else 'full'}"
                f" trees, not record={self.record}; leave out one of them"
            )

    def _check_engine(self) -> None:
        if self.engine == HF:  # as without the option, so that evidence is the same
            object.__setattr__(self, "engine", 0)
        known = [HF, *ENGINES, *map(str, TREE_VERSIONS)]
        if self.engine != 0 and str(self.engine) not in known:
            raise OptionError(
                f"llamaguard: engine={self.engine} is none of {', '.join(known)}"
                f"{did_you_mean(str(self.engine), known)}"
            )
        self._check_endpoint_options()
        if self.runs_on != HF:
            ENGINES[self.runs_on].check_options(self)
            self._check_texts()
            if self.top_logprobs < _FEWEST_LISTED:
                raise OptionError(
                    f"llamaguard: top_logprobs={self.top_logprobs} lists no "
                    f"alternative; {_FEWEST_LISTED} or more would work"
                )
            return
        for name, default in (("top_logprobs", 64), ("unlisted", "auto")):
            if getattr(self, name) != default:
                served = " or ".join(f"engine={engine}" for engine in ENGINES)
                raise OptionError(
                    f"llamaguard: {name} is for engines that list a few tokens; add "
                    f"{served}"
                )

    def _check_texts(self) -> None:
        """Raise OptionError for options of probabilities where there are texts."""
        if not self.reads_texts:
            return
        for name, default in (
            ("top_logprobs", 64),
            ("unlisted", "auto"),
            ("stop", "eps"),
        ):
            if getattr(self, name) != default:
                raise OptionError(
                    f"llamaguard: {name} is for what log-probabilities tell, and "
                    "logprobs=no asks for none"
                )
        if self.truncation == "windows":
            raise OptionError(
                "llamaguard: truncation=windows reads a prompt in parts, and "
                "logprobs=no asks about whole ones"
            )
        if sampled_reasonings(self.reasoning):
            raise OptionError(
                f"llamaguard: reasoning={self.reasoning} samples reasonings with a "
                f"tree after each; with logprobs=no, samples={self.reasoning} samples "
                "whole answers"
            )

    def _check_endpoint_options(self) -> None:
        """Raise OptionError for options of a server where there is none."""
        if self.runs_on == ENDPOINT:
            return
        for option in fields(EndpointOptions):
            if getattr(self, option.name) != option.default:
                raise OptionError(
                    f"llamaguard: {option.name} is for a server; add engine={ENDPOINT}"
                )

    def _check_reasoning(self) -> None:
        if count := sampled_reasonings(self.reasoning):
            if self.criteria or self.truncation == "windows":
                other = "criteria" if self.criteria else "truncation=windows"
                raise OptionError(
                    f"llamaguard: reasoning={count} and {other} both read a sample "
                    "several times; reasoning=greedy goes with it"
                )
        elif self.reasoning_seed or self.reasoning_temperature != 1:
            name = "seed" if self.reasoning_seed else "temperature"
            raise OptionError(
                f"llamaguard: reasoning_{name} is for sampled reasonings; "
                "reasoning=8 would sample eight"
            )
        if not 0 < self.reasoning_temperature < inf:
            raise OptionError(
                f"llamaguard: reasoning_temperature={self.reasoning_temperature} is "
                "not above 0; reasoning=greedy is what it would come to at 0"
            )

    def _check_tree(self) -> None:
        if self.ignore_case and self.grammar == "strict":
            raise OptionError(
                "llamaguard: ignore_case is for lenient verdicts; add grammar=lenient"
            )
        # At eps=1 nothing below the roots is expanded, and no bound says anything.
        if not 0 <= self.eps < 1:
            raise OptionError(f"llamaguard: eps={self.eps} is no mass in [0, 1)")
        if not 0 < self.original_top_p <= 1:
            raise OptionError(
                f"llamaguard: original_top_p={self.original_top_p} is no share"
            )
        if self.width < 1:
            raise OptionError(f"llamaguard: width={self.width} is below 1")
        if self.max_nodes < 1:
            raise OptionError(f"llamaguard: max_nodes={self.max_nodes} is below 1")
