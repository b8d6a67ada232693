"""The setting of the embedded guard on the starter set."""

from __future__ import annotations

from itertools import cycle, islice

from safebench import Plugins
from safebench.datasets import load_dataset, resolve_dataset
from safebench_llamaguard_marginal import (
    GuardOptions,
    LoadedGuard,
    PromptBuilder,
    continuation_encoder,
    load_guard,
    max_prompt_tokens,
    verdict_grammar,
)

from .setting import Prompt, Setting

_ANSWER_TOKENS = 64  # tokens left for the answer


def embedded_setting(
    count: int, prefix_tokens: int, dtype: str = "float32", device: str = "cpu"
) -> Setting:
    """Return `count` prompts of the starter set for the embedded guard.

    With `prefix_tokens` above the prompts' own common prefix, the policy's text
    (repeated if need be) is put behind the first token until that many are shared.
    """
    guard = load_guard(GuardOptions(dtype=dtype, device=device))  # type: ignore[arg-type]
    rows, prefix = _prompts(guard), _shared_prefix(guard)
    rows = rows[:: max(1, len(rows) // count)][:count]
    filler = _filler(guard, prefix_tokens - len(prefix))
    return Setting(
        name=guard.label,
        network=guard.model.network,
        pieces=guard.model.token_bytes,
        eos=guard.model.eos,
        pad=guard.tokenizer.pad_token_id or 0,
        grammar=verdict_grammar(guard, "strict"),
        spell=continuation_encoder(guard),
        policy=guard.policy,
        prompts=[_insert_after_first(filler, prompt) for prompt, _ in rows],
        prefix=_insert_after_first(filler, prefix),
        truth=tuple(unsafe for _, unsafe in rows),
    )


def _prompts(guard: LoadedGuard) -> list[tuple[Prompt, bool]]:
    """Return every prompt of the starter set, and whether it is unsafe."""
    config = guard.model.network.config
    builder = PromptBuilder(
        guard.prompt_format,
        guard.encoder,
        max_prompt_tokens(0, _ANSWER_TOKENS, config),
        "left",
    )
    dataset = load_dataset(resolve_dataset("starter", Plugins()))
    built = [builder.build(sample).prompts for sample in dataset.samples]
    return [
        (tuple(prompts[0].ids), bool(truth.label.value))
        for prompts, truth in zip(built, dataset.ground_truth, strict=True)
        if prompts
    ]


def _shared_prefix(guard: LoadedGuard) -> Prompt:
    """Return what all prompts of the guard's own layout start with."""
    first, *_ = guard.model.prefixes
    return first


def _filler(guard: LoadedGuard, count: int) -> Prompt:
    categories = guard.policy.categories
    text = "\n".join(f"{c.code}: {c.name}. {c.definition}" for c in categories)
    return tuple(islice(cycle(guard.encoder.encode_text(text)), max(0, count)))


def _insert_after_first(filler: Prompt, prompt: Prompt) -> Prompt:
    return (*prompt[:1], *filler, *prompt[1:])
