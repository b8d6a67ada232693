"""The folder of a training: the files in it, and how later stages read them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from safebench import differences, write_json, write_jsonl
from safebench.errors import ModelError, RunFolderError
from safebench.training import Artifact
from safebench_feedback_finetune.certify.candidates import Candidate
from safebench_feedback_finetune.certify.certification import (
    CertificationTerms,
    PreRegistration,
)
from safebench_feedback_finetune.collect.near_duplicates import fold_text
from safebench_feedback_finetune.collect.prompts import Prompt
from safebench_feedback_finetune.collect.splits import SPLITS
from safebench_feedback_finetune.stored_files import (
    changed_file,
    checked,
    checked_probability,
    damage_named,
    file_checksums,
    parse_sealed,
    sealed,
    unsealed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from safebench_feedback_finetune.collect.splits import PromptSplits

TRAINER = "feedback_finetune"
TRAINED_FOLDER = "trained"
PRE_REGISTRATION_FILE = "promise.json"
SPLITS_FILE = "parts.jsonl"
TEST_FILE = "test.jsonl"
ANNOTATIONS_FILE = "annotations.jsonl"
WEIGHTS_FILE = "adapter_model.safetensors"
FACTS_FILE = "learned.json"
# Of a finished training; `results.jsonl` and `evaluation.json` come later.
FILES = (
    *(SPLITS_FILE, TEST_FILE, ANNOTATIONS_FILE, PRE_REGISTRATION_FILE),
    *(WEIGHTS_FILE, "adapter_config.json"),
    f"{TRAINED_FOLDER}/{WEIGHTS_FILE}",
    f"{TRAINED_FOLDER}/adapter_config.json",
    f"{TRAINED_FOLDER}/{FACTS_FILE}",
)


def require_same_guard(stored: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Raise ModelError unless two guard identities are the same: see `guard_identity`.

    A guard cannot learn from the errors of another one. Its name may differ: a local
    copy of a hub model has the same weights.
    """
    if stored.get("adapter"):
        raise ModelError(
            "the guard that collected had an adapter, and a LoRA is learnt on a bare "
            "guard: merge it into the guard first, or collect without --adapter"
        )
    # Through JSON, so that tuples compare equal to the lists that were stored.
    before, now = dict(stored), json.loads(json.dumps(current))
    for identity in (before, now):
        identity.pop("model", None)
        identity.pop("revision", None)
    differing = list(differences(before, now))
    if differing:
        lines = "\n  ".join(differing)
        raise ModelError(
            f"another guard than {stored.get('model')!r}, which collected; name that "
            f"one with --guard, --policy, --format and --dtype\n  {lines}"
        )


def read_training_manifest(out: Path) -> dict[str, Any] | None:
    """Return the manifest of a training, None for a new or empty folder.

    Raises RunFolderError for a folder that holds something else.
    """
    if not out.exists():
        return None
    if not out.is_dir():
        raise RunFolderError(f"{out} is a file; name a folder with --out")
    if Artifact(out).path.is_file():
        with _damage_named(Artifact(out).path):
            manifest = unsealed(Artifact(out).manifest())
        if manifest.get("trainer") == TRAINER:
            return manifest
    elif all(path.name.startswith(".") for path in out.iterdir()):
        return None
    raise RunFolderError(
        f"{out} is no folder of feedback train; name another one with --out"
    )


def has_begun(out: Path) -> bool:
    """Return whether a training left more in its folder than the manifest.

    A training that stopped before that has nothing to resume, so that it does not hold
    its folder against one with other options.
    """
    names = (path.name for path in out.iterdir() if not path.name.startswith("."))
    return any(name != Artifact.MANIFEST for name in names)


def finished_manifest(out: Path) -> dict[str, Any]:
    """Return the manifest of a finished training; raises ModelError otherwise."""
    manifest = read_training_manifest(out)
    if manifest is None or manifest.get("status") != "done":
        raise ModelError(
            f"{out} holds no finished training: safebench feedback train --out {out}"
        )
    check_finished(out, manifest)
    return manifest


def write_training_manifest(out: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest; that of a finished training lists its files' checksums."""
    content = dict(manifest)
    if content["status"] == "done":
        content["files"] = file_checksums(out, FILES)
    write_json(Artifact(out).path, sealed(content))


def check_finished(out: Path, manifest: Mapping[str, Any]) -> None:
    """Raise ModelError unless a finished training holds what its manifest says.

    Later stages read these values and files without a further look.
    """
    if name := changed_file(out, manifest.get("files")):
        raise ModelError(
            f"{out / name} is damaged (it is not what was trained): train into a new "
            "folder"
        )
    with _damage_named(Artifact(out).path):
        checked(manifest["identity"]["guard"], dict)
        checked_probability(manifest["identity"]["options"]["agreement"])
        checked(manifest["threshold"], int, float)
        checked(manifest["parts_hash"], str)
        for source in checked(manifest["collected"]["sources"] or [], list):
            checked(source["name"], str)
        _stored_candidate(manifest["promise"]["control"])
        gate = manifest["gate"]
        if gate["status"] not in ("passed", "rejected"):
            raise ValueError(f"{gate['status']!r} is no outcome of a gate")
        if gate["candidate"] is not None:
            _stored_candidate(gate["candidate"])
        elif gate["status"] == "passed":
            raise ValueError("a gate that passed nothing")


def write_splits(out: Path, splits: PromptSplits) -> None:
    """Write which prompt is in which split, and the test split with its scores.

    Evaluation reads these files. It must not split again: the collection may have
    grown since, and its clusters with it.
    """
    write_jsonl(out / SPLITS_FILE, map(sealed, _split_members(splits)))
    test = (
        asdict(prompt) | {"cluster": splits.cluster_of[prompt.id]}
        for prompt in splits.collected["test"]
    )
    write_jsonl(out / TEST_FILE, map(sealed, test))


def _split_members(splits: PromptSplits) -> Iterator[dict[str, Any]]:
    roles = (("collected", splits.collected), ("benign", splits.benign))
    for role, prompts_by_split in roles:
        for split in SPLITS:
            for prompt in prompts_by_split.get(split, ()):
                yield {
                    "prompt_id": prompt.id,
                    "part": split,
                    "role": role,
                    "cluster": splits.cluster_of[prompt.id],
                    "text_hash": text_hash(prompt.text),
                }


def text_hash(text: str) -> str:
    """Return a hash that ignores case, digits and punctuation."""
    return hashlib.sha256(fold_text(text).encode()).hexdigest()[:16]


def read_test_split(out: Path) -> tuple[list[Prompt], dict[str, str]]:
    """Return the test prompts of a training, and their clusters by prompt id.

    Raises ModelError that names the damaged line.
    """
    prompts, cluster_of = [], {}
    for where, row in _read_rows(out / TEST_FILE):
        with _damage_named(where):
            cluster = checked(row.pop("cluster"), str)
            tuples = {name: tuple(row[name]) for name in ("p_out", "responses")}
            prompt = Prompt(**row | tuples)
            _check_prompt(prompt)
            prompts.append(prompt)
            cluster_of[prompt.id] = cluster
    return prompts, cluster_of


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is known of a test prompt beside the scores, and no training sees.

    `harmful` are people's labels of its responses; `judge_saw` says that the judge
    learnt from a prompt like it.
    """

    harmful: tuple[bool, ...] = ()
    judge_saw: bool = False


def write_annotations(
    out: Path, splits: PromptSplits, annotations: Mapping[str, Annotation]
) -> None:
    """Write the annotations of test prompts, those that have any, by prompt id."""
    rows = (
        {
            "prompt_id": prompt.id,
            "harmful": list(annotations[prompt.id].harmful),
            "judge_saw": annotations[prompt.id].judge_saw,
        }
        for prompt in splits.collected["test"]
        if prompt.id in annotations
    )
    write_jsonl(out / ANNOTATIONS_FILE, map(sealed, rows))


def read_annotations(out: Path) -> dict[str, Annotation] | None:
    """Return the annotations of test prompts, None for a training of before there were.

    Raises ModelError that names the damaged line.
    """
    if not (out / ANNOTATIONS_FILE).is_file():
        return None
    annotations = {}
    for where, row in _read_rows(out / ANNOTATIONS_FILE):
        with _damage_named(where):
            labels = tuple(checked(y, bool) for y in checked(row["harmful"], list))
            saw = checked(row["judge_saw"], bool)
            annotations[checked(row["prompt_id"], str)] = Annotation(labels, saw)
    return annotations


def read_seen_hashes(out: Path) -> set[str]:
    """Return the text hashes of all prompts in train, val and calib.

    Raises ModelError that names the damaged line.
    """
    seen = set()
    for where, row in _read_rows(out / SPLITS_FILE):
        with _damage_named(where):
            split, text = row["part"], checked(row["text_hash"], str)
            if split not in SPLITS:
                raise ValueError(f"{split!r} is no part: {', '.join(SPLITS)}")
            if split != "test":
                seen.add(text)
    return seen


def test_part_hash(out: Path) -> str:
    """Return a hash of which prompts are in the test part, without reading them.

    Trainings of one collection and one split have the same. Raises ModelError that
    names the damaged line.
    """
    ids = []
    for where, row in _read_rows(out / SPLITS_FILE):
        with _damage_named(where):
            if row["part"] == "test":
                ids.append(checked(row["prompt_id"], str))
    return hash_lines(ids)


def _check_prompt(prompt: Prompt) -> None:
    """Raise TypeError or ValueError for a stored prompt that holds no prompt."""
    for text in (prompt.id, prompt.text, prompt.dataset, prompt.group):
        checked(text, str)
    for response in prompt.responses:
        checked(response, str)
    checked(prompt.passed, bool)
    checked(prompt.label, bool, type(None))
    for p in (prompt.p_in, *prompt.p_out):
        if p is not None:
            checked_probability(p)


def _damage_named(where: Path | str) -> AbstractContextManager[None]:
    """Turn what stored content of another shape raises into one line."""
    return damage_named(where, ModelError, "train into a new folder")


def _read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return place and content of each row of a JSON Lines file.

    Raises ModelError if it is missing, or names the line that is no JSON object.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        raise ModelError(f"{path} is missing: train into a new folder") from None
    for number, line in enumerate(lines, 1):
        if line:
            where = f"{path}:{number}"
            with _damage_named(where):
                row = parse_sealed(line)
            yield where, row


def read_pre_registration(path: Path) -> PreRegistration:
    """Return what was registered before the calibration set was used.

    Raises ModelError if it cannot be read: it must not be registered again, since
    calib may have been seen.
    """
    with _damage_named(str(path)):
        content = parse_sealed(path.read_bytes())
        candidate = content["candidate"]
        records = {
            "terms": CertificationTerms(**content["terms"]),
            "candidate": None if candidate is None else _stored_candidate(candidate),
            "control": _stored_candidate(content["control"]),
        }
        registered = PreRegistration(**content | records)
        for number in (registered.base_fpr, registered.base_recall, registered.aim):
            checked_probability(number)
        checked(registered.n_benign, int)
    return registered


def _stored_candidate(content: Any) -> Candidate:
    candidate = Candidate(**content)
    if not (0 <= candidate.alpha <= 1 and isfinite(candidate.threshold)):
        raise ValueError(f"{content!r} is no candidate")
    return candidate


def hash_lines(lines: Iterable[str]) -> str:
    """Return 16 hex digits that identify lines, whatever their order."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]
