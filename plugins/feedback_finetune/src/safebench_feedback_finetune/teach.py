"""From parts to a LoRA in the guard: examples are drawn, and learnt by steps."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from safebench.files import write_json

from .asked import Asked
from .augment import varied
from .batches import Examples
from .examples import Choice, draw
from .gating import numbers, terms_for
from .learn import learn, with_lora
from .loading import put_adapter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from .examples import Drawn
    from .gate import Terms
    from .gating import Validation
    from .parts import Parts
    from .scorer import VerdictScorer
    from .train_options import TrainOptions

FACTS = "learned.json"
CHOSEN = (
    *("seed", "recipe", "agreement", "soft", "negatives", "hard", "hard_weight"),
    *("replay", "benign_weight"),
)


def taught(
    options: TrainOptions,
    parts: Parts,
    val: Validation,
    base: Asked,
    threshold: float,
    folder: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Leave the LoRA in the network that `base` asks, and in `folder`; return facts.

    What is there already is put into the network as it is.
    """
    scorer, facts = base.scorer, folder / FACTS
    if facts.is_file():
        put_adapter(scorer.network, folder, scorer.label)
        return dict(json.loads(facts.read_text(encoding="utf-8")))
    benign = base.asked(parts.benign.get("train", ()))
    drawn = draw(parts.collected["train"], choice_of(options, threshold), benign)
    kinds = Counter(one.kind for one in drawn)
    say("examples: " + ", ".join(f"{n} {kind}" for kind, n in kinds.items()))
    examples = _encoded(drawn, scorer, options)
    terms, _ = terms_of(options, val, base, threshold)
    before = numbers(val, base.scores(0.0, val.prompts), terms.cap)
    say("base guard: " + ", ".join(f"{k} {v:.3f}" for k, v in before.items()))
    wrapped = with_lora(scorer, options)
    trained = Asked(scorer)

    def validate() -> Mapping[str, float]:
        return numbers(val, trained.now(1.0, val.prompts), terms.cap)

    learned = learn(scorer, wrapped, examples, validate, options, folder, say)
    copies = len(examples) - len(drawn)
    found = asdict(learned) | {"examples": kinds, "copies": copies, "base": before}
    write_json(facts, found)
    return found


def _encoded(
    drawn: Sequence[Drawn], scorer: VerdictScorer, options: TrainOptions
) -> Examples:
    """Return the examples, and copies of some, as the guard reads them."""
    prompts = [scorer.encode(one.prompt.turns) for one in drawn]
    copies = varied(drawn, scorer, options.augment, options.seed)
    return Examples(
        [*drawn, *(one for one, _ in copies)], [*prompts, *(ids for _, ids in copies)]
    )


def terms_of(
    options: TrainOptions, val: Validation, base: Asked, threshold: float
) -> tuple[Terms, float]:
    """Return what is to be promised, and the base guard's rate of alarms on val."""
    _, benign = val.split(base.scores(0.0, val.prompts))
    return terms_for(
        benign >= threshold,
        cap=options.cap,
        margin=options.cap_margin,
        recall_loss=options.recall_loss,
        delta=options.delta,
    )


def choice_of(options: TrainOptions, threshold: float) -> Choice:
    """Return how examples are chosen."""
    return Choice(threshold=threshold, **{n: getattr(options, n) for n in CHOSEN})
