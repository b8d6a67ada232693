"""A guard whose network runs in an engine: its files are read, its weights are not."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

from safebench.errors import ModelError
from safebench.torch_utils import model_load_errors, quiet_transformers
from safebench.verdict_tree import SparseModel
from safebench_llamaguard_marginal.model.loading import (
    GuardParts,
    end_token_ids,
    pick_prompt,
)
from safebench_llamaguard_marginal.model.model_files import is_embedded, locate_model
from safebench_llamaguard_marginal.model.token_bytes import token_bytes
from safebench_llamaguard_marginal.profile.resolve import (
    resolve_profile,
    with_defaults,
)
from safebench_llamaguard_marginal.prompt.tokenization import PromptEncoder

from .catalog import ENGINES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.torch_utils import ModelFolder
    from safebench_llamaguard_marginal.options import GuardOptions


class ServedModel(SparseModel, Protocol):
    """A `SparseModel` that an engine runs."""

    @property
    def max_tokens(self) -> int:
        """How many tokens a prompt and its answer may have together; 0: unknown."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the engine is and how it runs, as JSON: part of what evidence is of.

        ``device`` and ``dtype`` are in every table.
        """

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever reads its numbers has to know."""

    @property
    def state(self) -> Mapping[str, Any]:
        """What is stored beside evidence, to know the engine again, as JSON."""

    def close(self) -> None:
        """End what was started for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardFiles:
    """What an engine needs to know of a guard that it is to serve.

    `config` is the model's configuration (of the library transformers); `token_bytes`
    (V,) and `eos` are what the loaded model must have.
    """

    source: ModelFolder
    config: Any
    tokenizer: Any
    token_bytes: Sequence[bytes]
    eos: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedGuard(GuardParts):
    """A guard that an engine runs."""

    model: ServedModel
    config: Any


def load_served_guard(options: GuardOptions) -> ServedGuard:
    """Load the guard that the options name into their engine.

    Raises ModelError or OptionError.
    """
    engine = ENGINES[options.runs_on]
    engine.check_installed()
    options = with_defaults(options, resolve_profile(options))
    source = locate_model(options.model, options.revision, weights=options.has_network)
    hint = "; reinstall this plugin" if is_embedded(source) else ""
    with quiet_transformers(), model_load_errors(source.label, hint=hint):
        tokenizer, config = source.tokenizer(), source.config()
    profile, policy, prompt_format = pick_prompt(options, tokenizer, source.label)
    files = GuardFiles(
        source=source,
        config=config,
        tokenizer=tokenizer,
        token_bytes=token_bytes(tokenizer, _width(config, tokenizer, source.label)),
        eos=end_token_ids(_stub(config, source), tokenizer),
    )
    model: ServedModel = engine.code()(options, files)
    return ServedGuard(
        label=source.label,
        tokenizer=tokenizer,
        encoder=PromptEncoder(tokenizer),
        prompt_format=prompt_format,
        policy=policy,
        profile=profile,
        model=model,
        config=config,
        notes=model.notes,
    )


def _stub(config: Any, source: ModelFolder) -> Any:
    """Return the two configurations of a network that name its ends."""
    generation = None
    if (source.folder / "generation_config.json").is_file():
        generation = SimpleNamespace(**source.read_json("generation_config.json"))
    return SimpleNamespace(config=config, generation_config=generation)


def _width(config: Any, tokenizer: Any, label: str) -> int:
    """Return the width of the logits, which no engine tells."""
    size = int(config.get_text_config().vocab_size)
    if len(tokenizer) > size:
        raise ModelError(
            f"model {label!r}: the tokenizer has {len(tokenizer)} tokens, the model "
            f"{size}; they belong to different models"
        )
    return size
