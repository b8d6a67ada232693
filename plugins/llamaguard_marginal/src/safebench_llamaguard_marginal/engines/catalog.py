"""The engines that the option `engine` names, and the options that they cannot take.

Another engine is one more entry: what it loads is found by name.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from safebench.errors import ModelError, OptionError
from safebench.evidence import SeedTree, VerdictTree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from safebench.evidence import Evidence

ENDPOINT = "openai"
HF = "hf"  # the network itself, by transformers: all that follows is about the others
_EXTRA = "pip install 'safebench-llamaguard-marginal[{extra}]'"

# What reads or changes the network itself, with what would work instead.
_OF_THE_NETWORK: dict[str, str] = {
    "adapter": "it serves one set of weights: merge the adapter into its base first",
    "attention": "it brings its own kernels",
    "layout": "it runs a tree as prompts that share a cached prefix",
    "draft": "a level of all trees is one batch already",
    "refill": "a level of all trees is one batch already",
    "mc_samples": "it lists the likeliest tokens, and samples need all of them",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine that lists next tokens with their log-probabilities.

    `load` is ``module:function`` of the options and the guard's `GuardFiles`: it
    returns a `ServedModel`. `package` is what it imports, and `extra` the extra of this
    plugin that installs it. `refused` are options that it cannot take, each with the
    reason, and `needs` those that it cannot do without.
    """

    name: str
    load: str
    package: str
    extra: str
    refused: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    def check_installed(self) -> None:
        """Raise ModelError, with the command that installs it, if it is not there."""
        if find_spec(self.package) is None:
            command = _EXTRA.format(extra=self.extra)
            raise ModelError(
                f"llamaguard: engine={self.name} needs {self.package}: {command}"
            )

    def code(self) -> Any:
        """Import the function behind `load`."""
        module, _, name = self.load.partition(":")
        return getattr(import_module(module), name)

    def check_options(self, options: Any) -> None:
        """Raise OptionError for an option that the engine cannot take."""
        for name, reason in {**_OF_THE_NETWORK, **self.refused}.items():
            value = getattr(options, name)
            if value not in ("off", _default(options, name)):
                raise OptionError(
                    f"llamaguard: engine={self.name} takes no {name}={value}: "
                    f"{reason}; engine={HF} would work"
                )
        if options.dtype == "float64":
            raise OptionError(
                f"llamaguard: engine={self.name} has no float64; dtype=float32, or "
                f"engine={HF}, would work"
            )
        for name in self.needs:
            if not getattr(options, name):
                raise OptionError(
                    f"llamaguard: engine={self.name} needs {name}, the address of the "
                    f"server; {name}=http://127.0.0.1:8000/v1 is one"
                )
        if options.unlisted == "ids" and options.grammar == "lenient":
            raise OptionError(
                "llamaguard: unlisted=ids asks for all tokens that go on, and after a "
                "lenient verdict all do; unlisted=cap would work"
            )


ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine(
            name="vllm",
            load="safebench_llamaguard_marginal.engines.vllm_model:load",
            package="vllm",
            extra="vllm",
            refused={"device": "it runs on the device that it was built for"},
        ),
        Engine(
            name=ENDPOINT,
            load="safebench_llamaguard_marginal.engines.endpoint_model:load",
            package="openai",
            extra="openai",
            refused={
                "device": "it runs where the server is",
                "dtype": "it has the number format that the server was started with",
            },
            needs=("base_url",),
        ),
    )
}

# Of a served model nobody has logits: what needs them is refused before the run.
LACKS: dict[type[Evidence], frozenset[str]] = {
    VerdictTree: VerdictTree.OF_LOGITS,
    SeedTree: frozenset(),
}


def _default(options: Any, name: str) -> Any:
    (own,) = (f for f in fields(options) if f.name == name)
    return own.default if own.default is not MISSING else None


def settle_options(options: Any, stored: Sequence[Mapping[str, Any]]) -> Any:
    """Return options with what a server says, and facts; see `ClassifierSpec.settle`.

    Nothing is imported or asked where the guard is behind none.
    """
    if options.runs_on != ENDPOINT:
        return options, {}
    discovery = import_module("safebench_llamaguard_marginal.engines.discovery")
    return discovery.settle(options, stored)
