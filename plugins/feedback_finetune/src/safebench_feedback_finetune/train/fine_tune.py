"""Fine-tune a guard: select examples, encode them, train a LoRA, keep the facts."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from safebench import write_json
from safebench.errors import ModelError
from safebench.torch_utils import DataParallelTrainer
from safebench_feedback_finetune.certify.candidates import validation_metrics
from safebench_feedback_finetune.certify.certification import certification_terms
from safebench_feedback_finetune.guard_loading import (
    load_adapter,
    load_verdict_scorer,
)
from safebench_feedback_finetune.process_group import share
from safebench_feedback_finetune.stored_files import (
    changed_file,
    checked,
    damage_named,
    file_checksums,
    parse_sealed,
    sealed,
)

from .adapters import CONFIG_FILE
from .batches import EncodedExamples
from .examples import ExampleSelection, select_examples
from .lora_training import add_lora, train_lora
from .policy_augmentation import augmented_copies
from .score_cache import ScoreCache
from .training_folder import FACTS_FILE, WEIGHTS_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from safebench_feedback_finetune.certify.certification import CertificationTerms
    from safebench_feedback_finetune.certify.holdout_sets import ValidationSet
    from safebench_feedback_finetune.collect.splits import PromptSplits
    from safebench_feedback_finetune.options import FeedbackTrainOptions
    from safebench_feedback_finetune.scorer import VerdictScorer

    from .examples import TrainingExample

# Options of `feedback train` that are fields of `ExampleSelection`.
SELECTION_OPTIONS = (
    *("seed", "recipe", "agreement", "soft", "negatives", "hard", "hard_weight"),
    *("replay", "benign_weight", "blocked"),
)


def fine_tune(
    options: FeedbackTrainOptions,
    splits: PromptSplits,
    val: ValidationSet,
    base: ScoreCache,
    threshold: float,
    folder: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Train a LoRA, leave it in `folder` and in the network of `base`; return facts.

    A folder that holds a finished LoRA is loaded instead. `threshold` is the base
    guard's.
    """
    scorer, facts_file = base.scorer, folder / FACTS_FILE
    if facts_file.is_file():
        share(None)  # nothing to take part in
        facts = read_facts(facts_file)
        load_adapter(scorer.network, folder, scorer.label)
        return facts
    benign = base.with_base_scores(splits.benign.get("train", ()))
    selected = select_examples(
        splits.collected["train"], selection_from_options(options, threshold), benign
    )
    kinds = Counter(example.kind for example in selected)
    say("examples: " + ", ".join(f"{n} {kind}" for kind, n in kinds.items()))
    for line in DataParallelTrainer.group_lines(options.batch_size, "prompts"):
        say(line)
    examples = share(_encode_examples(selected, scorer, options))
    terms, _ = terms_from_options(options, val, base, threshold)
    base_metrics = validation_metrics(val, base.scores(0.0, val.prompts), terms.cap)
    say("base guard: " + ", ".join(f"{k} {v:.3f}" for k, v in base_metrics.items()))
    peft_model = add_lora(scorer, options)
    # A cache of its own: its scores are of a network that changes with every step.
    trained = ScoreCache(scorer)

    def validate() -> Mapping[str, float]:
        scores = trained.compute(1.0, val.prompts)
        return dict(share(validation_metrics(val, scores, terms.cap)))

    result = train_lora(scorer, peft_model, examples, validate, options, folder, say)
    facts = asdict(result) | {
        "examples": kinds,
        "copies": len(examples) - len(selected),
        "base": base_metrics,
    }
    # Written last: the file says that the adapter beside it is finished.
    files = file_checksums(folder, (WEIGHTS_FILE, CONFIG_FILE))
    write_json(facts_file, sealed(facts | {"files": files}))
    return facts


def take_part(
    options: FeedbackTrainOptions, folder: Path, say: Callable[[str], None]
) -> None:
    """Train beside the main process of a group, on the examples that it sends."""
    examples = share(None)
    if examples is None:
        return
    scorer = load_verdict_scorer(options)
    peft_model = add_lora(scorer, options)

    def receive() -> Mapping[str, float]:
        return dict(share(None))

    train_lora(scorer, peft_model, examples, receive, options, folder, say)


def read_facts(path: Path) -> dict[str, Any]:
    """Return the facts of a finished LoRA; raises ModelError unless it is whole."""
    remedy = f"delete {path.parent} to train it again"
    with damage_named(path, ModelError, remedy):
        facts = parse_sealed(path.read_bytes())
        checked(facts["steps"], int)
    if name := changed_file(path.parent, facts.pop("files", None)):
        raise ModelError(
            f"{path.parent / name} is damaged (it is not what was trained): {remedy}"
        )
    return facts


def _encode_examples(
    selected: Sequence[TrainingExample],
    scorer: VerdictScorer,
    options: FeedbackTrainOptions,
) -> EncodedExamples:
    """Return the examples and augmented copies of some, encoded for the guard."""
    encoded = [scorer.encode(example.prompt.turns) for example in selected]
    copies = augmented_copies(selected, scorer, options.augment, options.seed)
    return EncodedExamples(
        [*selected, *(example for example, _ in copies)],
        [*encoded, *(ids for _, ids in copies)],
    )


def terms_from_options(
    options: FeedbackTrainOptions,
    val: ValidationSet,
    base: ScoreCache,
    threshold: float,
) -> tuple[CertificationTerms, float]:
    """Return the terms of the certificate, and the base guard's FPR on val."""
    _, benign_scores = val.split_scores(base.scores(0.0, val.prompts))
    return certification_terms(
        benign_scores >= threshold,
        cap=options.cap,
        margin=options.cap_margin,
        recall_loss=options.recall_loss,
        delta=options.delta,
    )


def selection_from_options(
    options: FeedbackTrainOptions, threshold: float
) -> ExampleSelection:
    """Return how examples are selected; `threshold` is the base guard's."""
    values = {name: getattr(options, name) for name in SELECTION_OPTIONS}
    return ExampleSelection(threshold=threshold, **values)
