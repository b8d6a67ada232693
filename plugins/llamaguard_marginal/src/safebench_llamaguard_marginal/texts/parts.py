"""What is known here of a guard whose server gives texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safebench.errors import OptionError
from safebench_llamaguard_marginal.engines.catalog import ENGINES
from safebench_llamaguard_marginal.profile.resolve import (
    resolve_profile,
    with_defaults,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.policies import Policy
    from safebench_llamaguard_marginal.options import GuardOptions
    from safebench_llamaguard_marginal.profile.resolve import Profile
    from safebench_llamaguard_marginal.prompt.prompt_builder import PromptBuilder

UNCHECKED = (
    "the server's chat template makes the prompts, which nothing here compares: name "
    "the model for that (model=FOLDER or a hub id)"
)
NO_QUESTIONS = (
    "asks about each category by itself, in a prompt that no conversation says: token "
    "ids (model=FOLDER or a hub id, at a server with completions) would work, or "
    "engine=hf"
)
_ANY_LENGTH = 1 << 30  # tokens: the server says what is too long


@dataclass(frozen=True, slots=True, kw_only=True)
class TextGuardParts:
    """A guard's profile and policy, with its prompts where its tokenizer is here.

    `label` is the model's name, "" where the server has it; `options` are those of the
    user with the profile's defaults. `prompts` make those of each question, by its name
    ("" of the only one), empty where no tokenizer is here; `format_name` is the name of
    their format.
    """

    label: str
    options: GuardOptions
    profile: Profile
    policy: Policy
    prompts: Mapping[str, PromptBuilder] = field(default_factory=dict)
    format_name: str = ""

    @property
    def questions(self) -> tuple[str, ...]:
        """The codes that are asked about one by one; empty for one question."""
        return tuple(code for code in self.prompts if code)


def load_parts(options: GuardOptions) -> TextGuardParts:
    """Load what texts need: no weights, and of a model without files nothing.

    Raises ModelError or OptionError.
    """
    ENGINES[options.runs_on].check_installed()
    profile = resolve_profile(options)
    options = with_defaults(options, profile)
    if profile.data.ask_each and (options.api == "chat" or not options.model):
        raise OptionError(f"llamaguard: profile {profile.name} {NO_QUESTIONS}")
    if options.has_files:
        return _with_prompts(options)
    if options.api == "completions":
        raise OptionError(
            "llamaguard: api=completions sends token ids, which model=FOLDER or a hub "
            "id makes; api=chat needs no tokenizer here"
        )
    if any(prompt.variables for prompt in profile.prompts.values()):
        raise OptionError(
            f"llamaguard: profile {profile.name} gives variables to the model's "
            "template, which not all servers take; model=FOLDER or a hub id lets the "
            "prompts be compared"
        )
    return TextGuardParts(
        label=options.served_model,
        options=options,
        profile=profile,
        policy=profile.policy(options.policy),
    )


def _with_prompts(options: GuardOptions) -> TextGuardParts:
    """Load the tokenizer and the prompts of a model's files."""
    from safebench.torch_utils import model_load_errors, quiet_transformers
    from safebench_llamaguard_marginal.model.loading import pick_prompt
    from safebench_llamaguard_marginal.model.model_files import locate_model
    from safebench_llamaguard_marginal.prompt.profile_format import (
        formats_by_criterion,
    )
    from safebench_llamaguard_marginal.prompt.prompt_builder import PromptBuilder
    from safebench_llamaguard_marginal.prompt.tokenization import PromptEncoder

    source = locate_model(options.model, options.revision, weights=False)
    with quiet_transformers(), model_load_errors(source.label):
        tokenizer = source.tokenizer()
    profile, policy, prompt_format = pick_prompt(options, tokenizer, source.label)
    limit, encoder = options.max_length or _ANY_LENGTH, PromptEncoder(tokenizer)
    return TextGuardParts(
        label=source.label,
        options=options,
        profile=profile,
        policy=policy,
        prompts={
            code: PromptBuilder(own, encoder, limit, options.truncation)
            for code, own in formats_by_criterion(prompt_format).items()
        },
        format_name=prompt_format.name,
    )
