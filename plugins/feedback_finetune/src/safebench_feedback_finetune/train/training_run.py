"""`feedback train`: split, fine-tune, certify; write a certified adapter.

A finished folder holds ``safebench.json`` with all facts; ``trained/``, the LoRA as it
was trained; ``promise.json``, what was registered before calib was used; and, if the
certificate passed, ``adapter_model.safetensors`` and ``adapter_config.json`` at the
chosen scale, which `safebench run -c llamaguard --adapter FOLDER` loads.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench import (
    differences,
    echo,
    lock_folder,
    provenance_fields,
    write_json,
)
from safebench.errors import DataError, RunFolderError
from safebench.training import Artifact, is_main_process
from safebench_feedback_finetune.certify.certification import (
    certify_candidate,
    pre_register,
)
from safebench_feedback_finetune.certify.choice import compare_choice
from safebench_feedback_finetune.certify.holdout_sets import (
    calibration_set,
    validation_set,
)
from safebench_feedback_finetune.certify.power import (
    min_harmful_prompts,
    target_false_positive_rate,
)
from safebench_feedback_finetune.certify.report import certificate_text, run_command
from safebench_feedback_finetune.collect.collection_folder import (
    read_collection,
    read_collection_manifest,
)
from safebench_feedback_finetune.collect.labelled_prompts import read_labelled_sets
from safebench_feedback_finetune.collect.prompts import prompts_of_collection
from safebench_feedback_finetune.collect.splits import (
    parse_split_shares,
    split_prompts,
    splits_text,
    with_scored_responses,
)
from safebench_feedback_finetune.guard_loading import (
    guard_identity,
    load_verdict_scorer,
)
from safebench_feedback_finetune.options import LATER_OPTIONS
from safebench_feedback_finetune.process_group import share
from safebench_feedback_finetune.registration import read_registration
from safebench_feedback_finetune.stored_files import sealed
from safebench_llamaguard_marginal import locate_model

from .adapters import write_scaled_adapter
from .fine_tune import fine_tune, take_part, terms_from_options
from .lora_training import check_arguments
from .score_cache import ScoreCache
from .training_folder import (
    PRE_REGISTRATION_FILE,
    TRAINED_FOLDER,
    TRAINER,
    Annotation,
    check_finished,
    has_begun,
    hash_lines,
    read_pre_registration,
    read_training_manifest,
    require_same_guard,
    write_annotations,
    write_splits,
    write_training_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from safebench import Plugins
    from safebench.typing import Array
    from safebench_feedback_finetune.certify.certification import (
        Certificate,
        PreRegistration,
    )
    from safebench_feedback_finetune.certify.holdout_sets import (
        CalibrationSet,
        ValidationSet,
    )
    from safebench_feedback_finetune.collect.collection_folder import CollectionRecord
    from safebench_feedback_finetune.collect.splits import PromptSplits
    from safebench_feedback_finetune.options import FeedbackTrainOptions

    Say = Callable[[str], None]

# Options that name where things are or run, but change no result. The data behind
# `collected` and `guard` is identified by hashes instead.
_NOT_IDENTITY = frozenset(
    {
        *("collected", "out", "strict", "device", "data_root", "guard", "label_map"),
        "registration",
    }
)


def run(options: FeedbackTrainOptions, plugins: Plugins, say: Say) -> int:
    """Train into a folder, certify the result, print it, and return the exit code.

    In a launched group the main process does everything but the steps of the training,
    which all share.
    """
    check_arguments(options)
    if not is_main_process():
        take_part(options, Path(options.out).expanduser() / TRAINED_FOLDER, say)
        return 0
    training = TrainingRun(options, plugins, say)
    manifest = training.finished_manifest()
    if not manifest:
        with lock_folder(training.out):
            # Another process may have finished between the first look and the lock.
            manifest = training.finished_manifest() or training.execute()
            for line in Artifact(training.out).write_card(plugins):
                say(line)
    else:
        share(None)  # nothing to take part in
    echo(certificate_text(manifest, run_command(options, manifest)))
    echo(f"trained: {training.out}")
    rejected = manifest["gate"]["status"] != "passed"
    return int(rejected and options.strict)


def annotations_of(
    records: Iterable[CollectionRecord], seen: Iterable[str]
) -> dict[str, Annotation]:
    """Return what people and the judge's training say of prompts, by prompt id."""
    labels: dict[str, list[bool]] = {}
    for record in records:
        if record.response_label is not None:
            labels.setdefault(record.prompt_id, []).append(record.response_label)
    saw = set(seen)
    return {
        key: Annotation(tuple(labels.get(key, ())), key in saw)
        for key in sorted(labels.keys() | saw)
    }


def judge_facts(collection: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a training keeps of the judge, without the prompts that it saw."""
    judge = collection.get("judge")
    if not judge:
        return {}
    return {"judge": {key: value for key, value in judge.items() if key != "seen"}}


class TrainingRun:
    """One training into one folder; each step reuses what an earlier run left there."""

    def __init__(
        self, options: FeedbackTrainOptions, plugins: Plugins, say: Say
    ) -> None:
        self.options, self.say = options, say
        self.out = Path(options.out).expanduser()
        collected = Path(options.collected).expanduser()
        self.collection = read_collection_manifest(collected)
        self.threshold = float(self.collection["identity"]["threshold"])
        require_same_guard(
            self.collection["identity"]["guard"], guard_identity(options)
        )
        records = read_collection(collected)
        self.prompts = prompts_of_collection(records)
        judge = self.collection.get("judge") or {}
        self.annotations = annotations_of(records, judge.get("seen") or ())
        self.benign_sets = read_labelled_sets(
            options.benign,
            plugins,
            say,
            training=True,
            data_root=options.data_root,
            label_map=options.label_map,
        )
        self.identity = self._build_identity()

    def _build_identity(self) -> dict[str, Any]:
        """Return what a resumed training must have in common with the first one."""
        options = {
            option.name: getattr(self.options, option.name)
            for option in fields(self.options)
            if option.name not in _NOT_IDENTITY
        }
        # Trainings from before there were these have none of them in their identity.
        for name, default in LATER_OPTIONS.items():
            if options[name] == default:
                del options[name]
        scored = (f"{p.id} {p.p_in} {p.p_out}" for p in self.prompts)
        benign_ids = (p.id for benign in self.benign_sets for p in benign.prompts)
        identity = {
            "options": options,
            "guard": self.collection["identity"]["guard"],
            "collected": hash_lines(scored),
            "benign": hash_lines(benign_ids),
        }
        # As it will be read back, so that tuples compare equal to lists.
        return dict(json.loads(json.dumps(identity)))

    def finished_manifest(self) -> dict[str, Any] | None:
        """Return the manifest of the finished training, None if it is not finished.

        Raises RunFolderError if the folder holds another training, or something else.
        """
        stored = read_training_manifest(self.out)
        if stored is None or not has_begun(self.out):
            return None
        differing = list(differences(stored.get("identity"), self.identity))
        if differing:
            lines = "\n  ".join(differing[:8])
            raise RunFolderError(
                f"{self.out} holds another training; name another folder with --out\n"
                f"  {lines}"
            )
        if stored.get("status") != "done":
            return None
        check_finished(self.out, stored)
        return stored

    def execute(self) -> dict[str, Any]:
        """Do the steps that are left, and return the manifest."""
        options = self.options
        registration = None
        if options.registration:
            registration = read_registration(Path(options.registration).expanduser())
            self.say(f"registered by {registration.file}, {registration.commit[:12]}")
        self._write_manifest("training")
        splits = self.split()
        self.say(splits_text(splits))
        scorer = load_verdict_scorer(options)
        splits = with_scored_responses(splits, scorer)
        write_splits(self.out, splits)
        write_annotations(self.out, splits, self.annotations)
        calib = self._calibration_set(splits)
        self._warn_if_underpowered(calib)
        val = validation_set(
            splits, threshold=self.threshold, agreement=options.agreement
        )
        # Before the network gets a LoRA: this cache scores the network as it is. The
        # cap during training depends on these scores.
        base = ScoreCache(scorer, has_lora=False)
        base.scores(0.0, val.prompts)
        self._warn_if_demanding(val, base, len(calib.benign))
        trained_folder = self.out / TRAINED_FOLDER
        learned = fine_tune(
            options, splits, val, base, self.threshold, trained_folder, self.say
        )
        scores = ScoreCache(scorer, continue_from=base)
        certificate, registered, warnings = self._certify(calib, val, scores)
        candidate = certificate.candidate
        if certificate.passed and candidate is not None and candidate.alpha > 0:
            write_scaled_adapter(trained_folder, candidate.alpha, self.out)
        return self._write_manifest(
            "done",
            parts=splits.counts(),
            parts_hash=splits.digest(),
            benign=[benign.to_manifest() for benign in self.benign_sets],
            base_guard=scorer.label,
            base=locate_model(options.guard).base_record(),
            learned=learned,
            promise=registered.to_json(),
            gate=certificate.to_json(),
            choice=self._choice(registered, val, scores),
            alarms=warnings,
            versions=provenance_fields()["versions"],
            **({"registration": registration.to_json()} if registration else {}),
        )

    def split(self) -> PromptSplits:
        """Return the splits; raises DataError if nothing is left to certify with."""
        options = self.options
        benign = [
            prompt
            for labelled in self.benign_sets
            for prompt in labelled.prompts
            if prompt.label is False
        ]
        splits = split_prompts(
            self.prompts,
            benign,
            parse_split_shares(options.split),
            benign_val=options.benign_val,
            benign_train=options.benign_train,
            seed=options.seed if options.split_seed is None else options.split_seed,
        )
        if not splits.benign_prompts("calib"):
            raise DataError(
                "--benign leaves no harmless prompt for the gate; name a larger set"
            )
        return splits

    def _calibration_set(self, splits: PromptSplits) -> CalibrationSet:
        return calibration_set(
            splits, threshold=self.threshold, agreement=self.options.agreement
        )

    def _warn_if_underpowered(self, calib: CalibrationSet) -> None:
        """Say before training starts that a certificate is out of reach."""
        needed = min_harmful_prompts(self.options.recall_loss, self.options.delta)
        if len(calib.harmful) < needed:
            self.say(
                f"warning: calib has {len(calib.harmful)} harmful prompts; below "
                f"{needed} the gate passes only what clearly gains recall: collect "
                "more, or name a higher --recall-loss"
            )

    def _warn_if_demanding(
        self, val: ValidationSet, base: ScoreCache, n_benign: int
    ) -> None:
        """Say before training starts that the base guard itself would hardly pass."""
        terms, base_fpr = terms_from_options(self.options, val, base, self.threshold)
        aim = target_false_positive_rate(n_benign, terms.cap, terms.delta)
        if aim < base_fpr:
            self.say(
                f"warning: the base guard flags {base_fpr:.3f} of the benign prompts "
                f"of val, and {n_benign} in calib can confirm {aim:.3f} under the cap "
                f"of {terms.cap:.3f}: what is learnt has to flag fewer, which costs "
                "recall; name more --benign prompts, or a higher --cap-margin"
            )

    def _certify(
        self, calib: CalibrationSet, val: ValidationSet, scores: ScoreCache
    ) -> tuple[Certificate, PreRegistration, list[str]]:
        """Choose on val, write the registration, and only then score calib."""
        path = self.out / PRE_REGISTRATION_FILE
        if path.is_file():
            # What an interrupted run registered stands: it may have seen calib since.
            registered = read_pre_registration(path)
        else:
            terms, base_fpr = terms_from_options(
                self.options, val, scores, self.threshold
            )
            registered = pre_register(
                val,
                self._val_scores(val, scores),
                terms,
                base_fpr,
                len(calib.benign),
                self.threshold,
            )
            write_json(path, sealed(registered.to_json()))
        certificate, warnings = certify_candidate(
            registered, calib, scores.scores, self.threshold
        )
        return certificate, registered, warnings

    def _val_scores(self, val: ValidationSet, scores: ScoreCache) -> dict[float, Array]:
        alphas = sorted({0.0, *self.options.alphas})
        return {alpha: scores.scores(alpha, val.prompts) for alpha in alphas}

    def _choice(
        self, registered: PreRegistration, val: ValidationSet, scores: ScoreCache
    ) -> dict[str, Any] | None:
        """Return how far val tells the choice from chance; None without a choice."""
        choice = compare_choice(registered, val, self._val_scores(val, scores))
        return choice.to_json() if choice else None

    def _write_manifest(self, status: str, **facts: Any) -> dict[str, Any]:
        """Write the manifest, and return it as it will be read back."""
        manifest = {
            "schema_version": Artifact.SCHEMA_VERSION,
            "kind": "llamaguard",
            "trainer": TRAINER,
            "status": status,
            "identity": self.identity,
            "threshold": self.threshold,
            "collected": {
                key: self.collection.get(key)
                for key in ("identity", "sources", "counts")
            }
            | judge_facts(self.collection),
            **facts,
        }
        self.out.mkdir(parents=True, exist_ok=True)
        write_training_manifest(self.out, manifest)
        return dict(json.loads(json.dumps(manifest, default=str)))
