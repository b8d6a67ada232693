"""One training from data to artifact: checked first, recorded before and after."""

from __future__ import annotations

import re
import shlex
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.options import build_options
from safebench.run.manifest import command_line, locked, redacted, versions
from safebench.run.table import commit

from .artifact import ARTIFACT, load_manifest, open_artifact, write_manifest
from .gather import gather, wanted
from .job import Trained, Training
from .process import is_main_process, wait_for_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.plugins import Plugins
    from safebench.specs import TrainerSpec

    from .config import TrainConfig
    from .gather import Parts
    from .job import Measure


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a training left: its folder, what to show, and the command to go on with."""

    out: Path
    trained: Trained
    next: str


def run_training(
    spec: TrainerSpec, config: TrainConfig, plugins: Plugins, say: Callable[[str], None]
) -> Outcome:
    """Train, and leave an artifact whose manifest says ``done``.

    In a launched group every process reads the data and fits; the main one alone owns
    the folder's lock and manifest. Raises `SafebenchError` before any work if options,
    data or folder do not serve.
    """
    main = is_main_process()
    options = build_options(spec, config.options)
    out = Path(config.out or default_out(spec, options, config)).expanduser()
    if main:
        open_artifact(out, resume=config.resume)
    parts = gather(spec, config, plugins, say)
    content = _content(spec, options, config, parts)
    training = Training(
        name=spec.name,
        options=options,
        out=out,
        train=parts.train,
        val=parts.val,
        test=parts.test,
        seed=config.seed,
        resume=config.resume,
        arguments=config.set,
        say=say,
        data=parts.facts,
    )
    with locked(out) if main else nullcontext():
        if main:
            if config.resume and not (out / ARTIFACT).exists():
                say(f"{out} holds nothing to go on with: a new training")
            open_artifact(out, resume=config.resume, identity=content["identity"])
            content["commands"] = [*_commands(out), redacted(command_line())]
            write_manifest(out, content)
        else:
            wait_for_manifest(out)
        trained: Trained = spec.code()(training)
        if main:
            write_manifest(out, _finished(content, trained))
    return Outcome(out, trained, next_command(parts, trained, out))


def default_out(spec: TrainerSpec, options: Any, config: TrainConfig) -> Path:
    """Return ``models/<trainer>[-<base>]-<dataset>[-seed<n>]``."""
    bases = getattr(options, "bases", ()) or (getattr(options, "base", ""),)
    names = [spec.name, *(Path(str(base)).name for base in bases)]
    texts = config.dataset or (spec.dataset,)
    names += [Path(text.partition(",")[0]).stem for text in texts]
    names += [f"seed{config.seed}"] if config.seed else []
    return Path("models") / re.sub(r"[^\w.+-]+", "_", "-".join(filter(None, names)))


def _content(
    spec: TrainerSpec, options: Any, config: TrainConfig, parts: Parts
) -> dict[str, Any]:
    """Return the manifest as it stands before the training."""
    args = asdict(options) if options is not None else {}
    free = {
        f.name
        for f in (fields(options) if args else ())
        if not f.metadata.get("identity", True)
    }
    identity = {
        "trainer": spec.name,
        "options": {k: v for k, v in args.items() if k not in free},
        "arguments": config.set,
        "seed": config.seed,
        "split": config.split,
        "sample": wanted(spec, config),
        "data": {
            name: facts["data_hash"] for name, facts in parts.facts["parts"].items()
        },
    }
    return {
        "kind": spec.name,
        "status": "training",
        "trainer": spec.name,
        "identity": redacted(identity),
        "dataset": parts.facts,
        "train_args": redacted({**args, "seed": config.seed, "set": config.set}),
        "versions": versions(),
        "git": commit(),
        "commands": [],
    }


def _commands(out: Path) -> list[Any]:
    """Return the commands that worked on this training before."""
    if not (out / ARTIFACT).exists():
        return []
    return list(load_manifest(out).get("commands", []))


def _finished(content: dict[str, Any], trained: Trained) -> dict[str, Any]:
    """Return the manifest of a finished training; keys of the core win."""
    done = {"kind": trained.classifier, "status": "done", "notes": trained.notes}
    metrics = metrics_of(trained.measures)
    return {**trained.manifest, **content, **done, "metrics": metrics}


def metrics_of(measures: list[Measure]) -> dict[str, Any]:
    """Return measures as part -> who -> metric -> value, interval, method, n."""
    found: dict[str, Any] = {}
    for measure in measures:
        numbers = asdict(measure)
        part, who, metric = (numbers.pop(key) for key in ("part", "who", "metric"))
        kept = {k: v for k, v in numbers.items() if v not in (None, "") or k == "value"}
        found.setdefault(part, {}).setdefault(who, {})[metric] = kept
    return found


def next_command(parts: Parts, trained: Trained, out: Path) -> str:
    """Return the run that puts the new artifact to use, on data it has not seen."""
    words = ["safebench", "run", "-c", trained.classifier, "--model", str(out)]
    for name in parts.evaluation:
        words += ["-d", name]
    return shlex.join(words)
