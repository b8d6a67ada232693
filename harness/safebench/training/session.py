"""Run one training: check options and data, call the trainer, write the artifact.

The manifest is written before and after. One with status ``training`` marks a folder
whose training can be resumed.
"""

from __future__ import annotations

import re
import shlex
from contextlib import nullcontext
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.console import check_process_group, is_main_process
from safebench.files import lock_folder
from safebench.isolation import isolated
from safebench.options import build_options
from safebench.provenance import (
    command_line,
    package_versions,
    source_commit,
)
from safebench.redaction import redact_secrets

from .artifact import (
    Artifact,
    check_output_folder,
    wait_for_manifest,
)
from .data import check_sources, load_training_data, sample_size
from .trainer import Trained, Training

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.plugins import Plugins
    from safebench.specs import TrainerSpec

    from .config import TrainConfig
    from .data import TrainingData
    from .trainer import Measure


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The artifact's folder, what the trainer returned, and the command to run next."""

    out: Path
    trained: Trained
    next_command: str


def run_training(
    spec: TrainerSpec, config: TrainConfig, plugins: Plugins, say: Callable[[str], None]
) -> TrainingResult:
    """Train, and leave an artifact whose manifest has status ``done``.

    In a distributed training every process reads the data and calls the trainer; the
    main process alone holds the folder's lock and writes the manifest. Raises
    `SafebenchError` before any work if options, data or folder are unusable.
    """
    check_process_group()
    main = is_main_process()
    options = build_options(spec, config.options)
    out = Path(config.out or default_output_folder(spec, options, config)).expanduser()
    if main:  # before the data is read, which may take long
        check_output_folder(out, resume=config.resume)
    check_sources(spec, config, plugins)
    if spec.check:  # what takes seconds to refuse should not take the data first
        with isolated(spec, pass_os_errors=True):
            spec.import_object(spec.check)(options, config.set)
    data = load_training_data(spec, config, plugins, say)
    manifest = _initial_manifest(spec, options, config, data)
    training = Training(
        name=spec.name,
        options=options,
        out=out,
        train=data.train,
        val=data.val,
        test=data.test,
        seed=config.seed,
        resume=config.resume,
        arguments=config.set,
        say=say,
        data=data.manifest,
        singles=data.singles,
    )
    # Two trainings in one folder would overwrite each other's checkpoints.
    with lock_folder(out) if main else nullcontext():
        if main:
            if config.resume and not Artifact(out).path.exists():
                say(f"{out} holds nothing to go on with: a new training")
            # Again, under the lock: another training may have begun meanwhile.
            check_output_folder(
                out,
                resume=config.resume,
                identity=manifest["identity"],
                defaults=_identity_defaults(options),
            )
            manifest["commands"] = [
                *_earlier_commands(out),
                redact_secrets(command_line()),
            ]
            Artifact(out).write(manifest)
        else:
            wait_for_manifest(out)
        fit = spec.code()
        with isolated(spec, pass_os_errors=True):
            trained = fit(training)
            if not isinstance(trained, Trained):
                raise TypeError(f"returned a {type(trained).__name__}, not a Trained")
        if main:
            Artifact(out).write(_final_manifest(manifest, trained))
            for line in Artifact(out).write_card(plugins):
                say(line)
    return TrainingResult(out, trained, next_command(data, trained, out))


def default_output_folder(spec: TrainerSpec, options: Any, config: TrainConfig) -> Path:
    """Return ``models/<trainer>[-<base>]-<dataset>[-seed<n>]``."""
    bases = getattr(options, "bases", ()) or (getattr(options, "base", ""),)
    names = [spec.name, *(Path(str(base)).name for base in bases)]
    texts = config.dataset or (spec.dataset,)
    # Without options such as label=verdict, and without folders.
    names += [Path(text.partition(",")[0]).stem for text in texts]
    names += [f"seed{config.seed}"] if config.seed else []
    return Path("models") / re.sub(r"[^\w.+-]+", "_", "-".join(filter(None, names)))


def _initial_manifest(
    spec: TrainerSpec, options: Any, config: TrainConfig, data: TrainingData
) -> dict[str, Any]:
    """Return the manifest before the training; `identity` decides about resuming."""
    args = asdict(options) if options is not None else {}
    # Such options (workers, devices) change how the work is done, not what comes out.
    not_identity = {
        f.name
        for f in (fields(options) if args else ())
        if not f.metadata.get("identity", True)
    }
    identity = {
        "trainer": spec.name,
        "options": {k: v for k, v in args.items() if k not in not_identity},
        "arguments": config.set,
        "seed": config.seed,
        "split": config.split,
        "sample": sample_size(spec, config),
        "data": {
            name: split["data_hash"] for name, split in data.manifest["parts"].items()
        },
    }
    return {
        "kind": spec.name,
        "status": "training",
        "trainer": spec.name,
        "identity": redact_secrets(identity),
        "dataset": redact_secrets(data.manifest),
        "train_args": redact_secrets({**args, "seed": config.seed, "set": config.set}),
        "versions": package_versions(),
        "git": source_commit(),
        "commands": [],
    }


def _identity_defaults(options: Any) -> dict[str, Any]:
    """Return the defaults of those options that decide about resuming."""
    return {
        f.name: f.default
        for f in (fields(options) if options is not None else ())
        if f.metadata.get("identity", True) and f.default is not MISSING
    }


def _earlier_commands(out: Path) -> list[Any]:
    """Return the commands of the trainings that this one resumes."""
    if not Artifact(out).path.exists():
        return []
    return list(Artifact(out).manifest().get("commands", []))


def _final_manifest(manifest: dict[str, Any], trained: Trained) -> dict[str, Any]:
    """Return the manifest after the training; the trainer cannot replace core keys."""
    return {
        **trained.manifest,
        **manifest,
        "kind": trained.classifier,
        "status": "done",
        "notes": trained.notes,
        "metrics": metrics_by_split(trained.measures),
    }


def metrics_by_split(measures: list[Measure]) -> dict[str, Any]:
    """Return ``{split: {model: {metric: {"value": ..., "low": ..., ...}}}}``."""
    metrics: dict[str, Any] = {}
    for measure in measures:
        entry = asdict(measure)
        split, model, name = (entry.pop(key) for key in ("part", "who", "metric"))
        # A value of None says that the metric is undefined; other empty fields say
        # nothing.
        entry = {k: v for k, v in entry.items() if v not in (None, "") or k == "value"}
        metrics.setdefault(split, {}).setdefault(model, {})[name] = entry
    return metrics


def next_command(data: TrainingData, trained: Trained, out: Path) -> str:
    """Return the command that evaluates the artifact on data it has not seen."""
    words = ["safebench", "run", "-c", trained.classifier, "--model", str(out)]
    for name in data.evaluation_datasets:
        words += ["-d", name]
    return shlex.join(words)
