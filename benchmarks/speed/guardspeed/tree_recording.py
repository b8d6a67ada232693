"""Verdict trees by the explorer, in a lean or the full record, and judging."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safebench import Plugins
from safebench.evidence import EvidenceBundle, VerdictTree
from safebench.lazy import import_object
from safebench.specs import StrategySpec, fields_by_kind
from safebench.strategies import Context
from safebench.torch_utils import Batcher
from safebench.verdict_tree import Exploration, ExploreOptions, TreeBounds, TreeExplorer
from safebench_llamaguard_marginal import HfModel, TorchLogitSummarizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .setting import Setting

# No command line offers this recording.
LEAN = ExploreOptions(eps=0.01, force_canonical=False, top_k=1)
DEFAULT = ExploreOptions()


def explorer(setting: Setting, options: ExploreOptions) -> TreeExplorer:
    """Return the engine on the setting's network; its prefix is read here, once."""
    prefixes = [setting.prefix] if setting.prefix else []
    model = HfModel(setting.network, setting.pieces, setting.eos, prefixes)
    model.on_device = True
    return TreeExplorer(
        model,
        setting.grammar,
        options,
        encode=setting.spell,
        summarize=TorchLogitSummarizer(),
    )


def record(
    engine: TreeExplorer, setting: Setting, batcher: Batcher | None = None
) -> tuple[VerdictTree, list[int]]:
    """Return the trees of all prompts, and the nodes that were run for each.

    Batches are those of the setting, or of a `batcher`, which makes smaller ones where
    memory runs out.
    """
    lengths = [len(prompt) for prompt in setting.prompts]
    explorations: list[Exploration] = []
    order: list[int] = []

    def explore(rows: list[int]) -> Exploration:
        return engine.explore([setting.prompts[i] for i in rows])

    batcher = batcher or Batcher(setting.batch_tokens)
    for batch, exploration in batcher.run(lengths, explore):
        assert exploration is not None, f"no memory for prompt {batch}"
        explorations.append(exploration)
        order += batch
    tree = VerdictTree.concat([exploration.tree for exploration in explorations])
    tree.meta |= engine.meta
    nodes = [
        fact.tokens + 1 for exploration in explorations for fact in exploration.stats
    ]
    original_order = np.argsort(order)
    return tree.select(original_order.tolist()), [nodes[i] for i in original_order]


def prefill(engine: TreeExplorer, setting: Setting) -> None:
    """Read all prompts, batch by batch, and grow nothing."""
    lengths = [len(prompt) for prompt in setting.prompts]
    for batch in Batcher(setting.batch_tokens).plan(lengths):
        engine.model.open([setting.prompts[i] for i in batch])


def mean_open_mass(tree: VerdictTree) -> float:
    """Return the mean open mass."""
    return float(TreeBounds(tree).open_mass.mean())


def strategies(names: Sequence[str] = ()) -> list[StrategySpec]:
    """Return the installed strategies that verdict trees alone suffice for."""
    kinds: set[type] = {VerdictTree}
    usable = [
        spec
        for spec in Plugins().all(StrategySpec)
        if all(_derivable(kind, kinds) for kind in fields_by_kind(spec.needs))
    ]
    return [spec for spec in usable if not names or spec.name in names]


def _derivable(kind: type, kinds: set[type]) -> bool:
    derived = getattr(kind, "derived_from", {})
    return kind in kinds or any(_derivable(source, kinds) for source in derived)


def judge(tree: VerdictTree, specs: Sequence[StrategySpec], setting: Setting) -> None:
    """Judge the trees by every strategy, with its default options."""
    bundle = EvidenceBundle({VerdictTree: tree})
    for spec in specs:
        options = import_object(spec.options)() if spec.options else None
        context = Context(task="prompt_harm", policy=setting.policy, options=options)
        judgements = spec.code()(bundle, context)
        assert judgements.size == len(tree), (
            f"{spec.name}: {judgements.size} of {len(tree)}"
        )
