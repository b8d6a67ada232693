"""The guard inside the plugin, asked about the starter set."""

from __future__ import annotations

from itertools import cycle, islice

from safebench.datasets.assemble import load_dataset
from safebench.datasets.choose import choose
from safebench.plugins import Plugins
from safebench_llamaguard_marginal.asking import Asker
from safebench_llamaguard_marginal.limits import prompt_limit
from safebench_llamaguard_marginal.loading import Guard, load_guard
from safebench_llamaguard_marginal.options import GuardOptions
from safebench_llamaguard_marginal.verdicts import speller, verdict_grammar

from .setting import Prompt, Setting

_ROOM = 64  # tokens left for the answer


def embedded(
    count: int, prefix_tokens: int, dtype: str = "float32", device: str = "cpu"
) -> Setting:
    """Return `count` prompts of the starter set for the embedded guard.

    With `prefix_tokens` above the prompts' own common prefix, the policy's text
    (repeated if need be) is put behind the first token until that many are shared.
    """
    guard = load_guard(GuardOptions(dtype=dtype, device=device))  # type: ignore[arg-type]
    rows, prefix = _prompts(guard), _shared(guard)
    rows = rows[:: max(1, len(rows) // count)][:count]
    filler = _filler(guard, prefix_tokens - len(prefix))
    return Setting(
        name=guard.label,
        network=guard.model.network,
        pieces=guard.model.pieces,
        eos=guard.model.eos,
        pad=guard.tokenizer.pad_token_id or 0,
        grammar=verdict_grammar(guard, "strict"),
        spell=speller(guard),
        policy=guard.policy,
        prompts=[_behind(filler, prompt) for prompt, _ in rows],
        prefix=_behind(filler, prefix),
        truth=tuple(unsafe for _, unsafe in rows),
    )


def _prompts(guard: Guard) -> list[tuple[Prompt, bool]]:
    """Return every prompt of the starter set, and whether it is unsafe."""
    config = guard.model.network.config
    asker = Asker(guard.layout, guard.encoder, prompt_limit(0, _ROOM, config), "left")
    dataset = load_dataset(choose("starter", Plugins()))
    asked = [asker.ask(sample) for sample in dataset.samples]
    return [
        (tuple(one.prompts[0].ids), bool(gold.label.value))
        for one, gold in zip(asked, dataset.golds, strict=True)
        if one.prompts
    ]


def _shared(guard: Guard) -> Prompt:
    """Return what all prompts of the guard's own layout start with."""
    first, *_ = guard.model.prefixes
    return first


def _filler(guard: Guard, count: int) -> Prompt:
    categories = guard.policy.categories
    text = "\n".join(f"{c.code}: {c.name}. {c.definition}" for c in categories)
    return tuple(islice(cycle(guard.encoder.spell(text)), max(0, count)))


def _behind(filler: Prompt, prompt: Prompt) -> Prompt:
    return (*prompt[:1], *filler, *prompt[1:])
