"""Pre-registration: what will be measured is committed before the test part is read.

A registration is a YAML file in a git repository. It names recipe, seeds, truth and
measure, and the hashes of what is learnt from and of which prompt is in which part.
`feedback evaluate --registration FILE` refuses to read the test part unless the file is
committed as it is and the training is the one that it names.
"""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench import OptionFile
from safebench.errors import OptionError, did_you_mean
from safebench_feedback_finetune.options import (
    LATER_OPTIONS,
    EvaluateOptions,
    FeedbackTrainOptions,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUIRED = ("recipe", "seeds", "truth", "measure", "comparison", "inputs")
OPTIONAL = ("question", "shown_if", "judge_training", "collect", "evaluate", "notes")
INPUTS = ("collected", "benign", "parts", "judge")
EVALUATE = ("eval_limit", "draws")  # what the numbers of an evaluation depend on
_GIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Registration:
    """A committed registration: file name, SHA-256, commit and its time, content."""

    file: str
    sha256: str
    commit: str
    committed: str
    content: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return what results keep of it."""
        kept = asdict(self)
        content = kept.pop("content")
        names = ("truth", "measure", "comparison", "shown_if", "seeds")
        return kept | {name: content[name] for name in names if name in content}


def read_registration(path: Path) -> Registration:
    """Read a registration; raises OptionError unless it is whole and committed."""
    content = dict(OptionFile.read(path).content)
    known = (*REQUIRED, *OPTIONAL)
    for name in content:
        if name not in known:
            raise OptionError(
                f"{path}: unknown key {name!r}{did_you_mean(name, known)}"
            )
    for name in REQUIRED:
        if content.get(name) in (None, "", [], {}):
            raise OptionError(f"{path} registers no {name}")
    for name in ("recipe", "inputs"):
        if not isinstance(content[name], dict):
            raise OptionError(f"{path}: {name} is no mapping")
    for name in content["inputs"]:
        if name not in INPUTS:
            hint = did_you_mean(name, INPUTS)
            raise OptionError(f"{path}: inputs: unknown key {name!r}{hint}")
    if not isinstance(content["seeds"], list):
        raise OptionError(f"{path}: seeds is no list")
    data = path.read_bytes()
    commit, committed = _commit_of(path, data)
    digest = hashlib.sha256(data).hexdigest()
    return Registration(path.name, digest, commit, committed, content)


def _commit_of(path: Path, data: bytes) -> tuple[str, str]:
    """Return the last commit of a file and its time; raises OptionError without one."""
    folder, name = path.resolve().parent, path.name
    stored = _git(folder, "show", f"HEAD:./{name}")
    if stored is None:
        raise OptionError(
            f"{path} is not committed: commit it before the test part is read"
        )
    if stored != data:
        raise OptionError(
            f"{path} is not as it was committed: what is registered may not change"
        )
    last = _git(folder, "log", "-1", "--format=%H %cI", "--", name) or b""
    commit, _, committed = last.decode().strip().partition(" ")
    return commit, committed


def _git(folder: Path, *arguments: str) -> bytes | None:
    """Return what git prints, None if it fails or is not there."""
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and names of files alone
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - the user's own git
            capture_output=True,
            check=False,
            timeout=_GIT_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def check_registered(registration: Registration, manifest: Mapping[str, Any]) -> None:
    """Raise OptionError unless a training is what was registered.

    An option that the registration does not name must be the default one.
    """
    where, content = registration.file, registration.content
    options = manifest["identity"]["options"]
    if options["seed"] not in content["seeds"]:
        listed = ", ".join(map(str, content["seeds"]))
        raise OptionError(
            f"{where} registers the seeds {listed}, and this training has "
            f"{options['seed']}"
        )
    registered = registered_options(registration)
    differing = [
        f"{name}: {registered.get(name)!r} registered, {options.get(name)!r} trained"
        for name in dict.fromkeys([*registered, *options])
        if name != "seed" and registered.get(name) != options.get(name)
    ]
    inputs = inputs_of(manifest)
    differing += [
        f"{name}: {wanted} registered, {inputs.get(name)} here"
        for name, wanted in content["inputs"].items()
        if inputs.get(name) != wanted
    ]
    if differing:
        raise OptionError(
            f"this training is not what {where} registers\n  " + "\n  ".join(differing)
        )


def registered_options(registration: Registration) -> dict[str, Any]:
    """Return all options of a registered training but its seed; raises OptionError."""
    recipe = registration.content["recipe"]
    defaults = {
        option.name: option.default
        for option in fields(FeedbackTrainOptions)
        if option.default is not MISSING and option.name not in _NOT_RECIPE
    }
    for name in recipe:
        if name not in defaults:
            hint = did_you_mean(str(name), defaults)
            raise OptionError(f"{registration.file}: recipe: no option {name!r}{hint}")
    options = {
        # as JSON has them
        name: list(value) if isinstance(value, tuple) else value
        for name, value in (defaults | recipe).items()
    }
    for name, default in LATER_OPTIONS.items():  # trainings have them where used
        if options[name] in (default, list(default)):
            del options[name]
    return options


# Where things are, and what names the data: these are known by hashes.
_NOT_RECIPE = frozenset(
    {
        *("collected", "out", "strict", "device", "data_root", "guard", "label_map"),
        *("seed", "registration"),
    }
)


def inputs_of(manifest: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the hashes of what a training learnt from, by the names of `INPUTS`."""
    identity = manifest["identity"]
    judge = manifest["collected"]["identity"].get("judge") or {}
    return {
        "collected": identity["collected"],
        "benign": identity["benign"],
        "parts": manifest.get("parts_hash"),
        "judge": judge.get("fingerprint"),
    }


def registration_for(path: str, manifest: Mapping[str, Any]) -> Registration | None:
    """Return the registration of an evaluation, None where none is asked for.

    Raises OptionError for a training that was registered if it is not given, or is
    another one.
    """
    bound = manifest.get("registration")
    if not path:
        if bound:
            raise OptionError(
                f"this training is registered by {bound['file']}: --registration "
                f"{bound['file']} evaluates it"
            )
        return None
    registration = read_registration(Path(path).expanduser())
    if bound and bound["sha256"] != registration.sha256:
        raise OptionError(
            f"this training is registered by another {bound['file']} than {path}: "
            f"its SHA-256 begins with {bound['sha256'][:12]}"
        )
    check_registered(registration, manifest)
    return registration


def check_evaluation(registration: Registration, options: EvaluateOptions) -> None:
    """Raise OptionError for an evaluation that is not as it was registered.

    What the numbers depend on must be the default where the registration does not name
    it: a registered result on some of the prompts would look like that on all.
    """
    where, registered = registration.file, registration.content.get("evaluate") or {}
    if not isinstance(registered, dict):
        raise OptionError(f"{where}: evaluate is no mapping")
    defaults = {option.name: option.default for option in fields(EvaluateOptions)}
    for name in registered:
        if name not in defaults:
            hint = did_you_mean(str(name), defaults)
            raise OptionError(f"{where}: evaluate: no option {name!r}{hint}")
    for name in dict.fromkeys([*EVALUATE, *registered]):
        given, wanted = getattr(options, name), registered.get(name, defaults[name])
        if (list(given) if isinstance(given, tuple) else given) != wanted:
            raise OptionError(
                f"{where} registers {name}: {wanted}, and this evaluation has {given}"
            )
