"""A guard's adapter as it is shown and shared, with the outcome of its gate."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from safebench.training import ArtifactDescription

from .certify.power import power_lines
from .train.training_folder import (
    FACTS_FILE,
    PRE_REGISTRATION_FILE,
    SPLITS_FILE,
    TEST_FILE,
    TRAINED_FOLDER,
    WEIGHTS_FILE,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

EVALUATION_FILE = "evaluation.json"
_ADAPTER = ("adapter_config.json", WEIGHTS_FILE)
_NOT_SHOWN = ("policy", "format", "quantize")  # they are named with the guard


def describe(folder: Path, manifest: Mapping[str, Any]) -> ArtifactDescription:
    """Describe an adapter by its manifest and what was evaluated."""
    gate = manifest["gate"]
    rejected = ""
    if gate["status"] != "passed":
        rejected = "its gate rejected it, and the base guard is kept"
    elif not gate["candidate"]["alpha"]:
        rejected = "nothing that was learnt did better than the base guard"
    whole = (folder / WEIGHTS_FILE).is_file()
    # A rejected one is shared as it was trained, for those who want to look at it.
    adapter = _ADAPTER if whole else tuple(f"{TRAINED_FOLDER}/{n}" for n in _ADAPTER)
    guard = manifest["identity"]["guard"]
    base = manifest.get("base") or {
        "name": manifest.get("base_guard") or guard.get("model"),
        "revision": guard.get("revision"),
    }
    return ArtifactDescription(
        summary=(
            f"A LoRA adapter for the guard {base['name']}, which judges prompts. It "
            "learnt from prompts that the guard let through and whose responses an "
            "output guard then blocked."
        ),
        commands=_commands(base, guard, gate) if whole else (),
        share=(*adapter, PRE_REGISTRATION_FILE, f"{TRAINED_FOLDER}/{FACTS_FILE}"),
        keep=(
            *(SPLITS_FILE, TEST_FILE, EVALUATION_FILE, "results.jsonl"),
            *(f"{TRAINED_FOLDER}/**", "checkpoints/**"),
        ),
        bases=(base,),
        needs_base="(embedded)" not in str(base["name"]),
        library="peft",
        pipeline_tag="text-generation",
        tags=("lora", "guard-feedback"),
        recipe=(
            *_judge_lines(manifest),
            *(
                f"{name}: {value}"
                for name, value in manifest["identity"]["options"].items()
                if name not in _NOT_SHOWN and value not in (None, "", [], {})
            ),
        ),
        gate=tuple(_gate_lines(manifest)),
        rejected=rejected,
        calibration=("none: its scores are the guard's own probabilities",),
        limits=(
            f"made for the policy {guard.get('policy')} and its guard's prompt format",
            *(
                f"alarm of its training: {alarm}"
                for alarm in manifest.get("alarms", ())
            ),
        ),
        sources=tuple(_sources(manifest)),
        splits=tuple(_splits(manifest)),
        metrics=_metrics(folder),
    )


def _commands(
    base: Mapping[str, Any], guard: Mapping[str, Any], gate: Mapping[str, Any]
) -> tuple[str, ...]:
    words = ["safebench run -c llamaguard"]
    if "(embedded)" not in str(base["name"]):
        words.append(f"--model {shlex.quote(str(base['name']))}")
    words.append("--adapter {model}")
    words.append(f"--set policy={str(guard.get('policy')).partition('@')[0]}")
    threshold = gate["candidate"]["threshold"]
    words.append(f"-s first_token,threshold={threshold:.6g} -d xstest")
    return (" ".join(words),)


def _judge(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the facts of what judged responses, empty for the guard itself."""
    judge: Mapping[str, Any] = (manifest.get("collected") or {}).get("judge") or {}
    return judge


def _judge_lines(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield who judged responses, and how well by people's labels where it is known."""
    judge = _judge(manifest)
    yield f"responses were judged by {judge.get('label') or 'the guard itself'}"
    for quality in judge.get("quality") or ():
        n, name, auroc = (quality.get(key) for key in ("n", "dataset", "auroc"))
        if auroc is None:
            yield f"quality of the judge on {name}: unknown ({n} labelled responses)"
            continue
        low, high = quality.get("low"), quality.get("high")
        interval = f" [{low:.3f}, {high:.3f}]" if high is not None else ""
        yield f"AUROC of the judge on {name}: {auroc:.3f}{interval} on {n} responses"


def _gate_lines(manifest: Mapping[str, Any]) -> Iterator[str]:
    gate = manifest["gate"]
    terms = gate["terms"]
    yield (
        f"{gate['status']}: promised beforehand were a false-positive rate of at most "
        f"{terms['cap']:.3f} and a loss of recall of at most {terms['tolerance']:.3f}, "
        f"each with an error of at most {terms['delta']:g}"
    )
    if candidate := gate["candidate"]:
        yield (
            f"chosen on validation: scale {candidate['alpha']:g}, threshold "
            f"{candidate['threshold']:.4f}"
        )
    if gate.get("fpr") is not None:
        yield (
            f"false-positive rate {gate['fpr']:.3f}, at most {gate['fpr_ucb']:.3f}, on "
            f"{gate['n_benign']} harmless prompts that nothing had used"
        )
    if gate.get("recall_change") is not None:
        yield (
            f"recall changed by {gate['recall_change']:+.3f}, at least "
            f"{gate['recall_change_lcb']:+.3f}, on {gate['n_harmful']} harmful prompts "
            f"({gate['gained']} gained, {gate['lost']} lost)"
        )
    yield from (f"why it was rejected: {reason}" for reason in gate.get("reasons", ()))
    if power := gate.get("power"):
        yield from power_lines(power)


def _sources(manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for source in (manifest.get("collected") or {}).get("sources") or ():
        name, _, split = str(source["name"]).partition(":")
        yield {**source, "name": name, "split": split, "part": "train"}
    for rows in _judge(manifest).get("calibrated_on") or ():
        name, _, split = str(rows["name"]).partition(":")
        yield {**rows, "name": name, "split": split, "part": "judge"}
    for benign in manifest.get("benign") or ():
        name, _, split = str(benign["name"]).partition(":")
        rows = benign.get("prompts")
        yield {**benign, "name": name, "split": split, "rows": rows, "part": "gate"}


def _splits(manifest: Mapping[str, Any]) -> Iterator[str]:
    for part, counts in (manifest.get("parts") or {}).items():
        if isinstance(counts, dict):
            listed = ", ".join(f"{n} {what}" for what, n in counts.items())
            yield f"{part}: {listed}"


def _metrics(folder: Path) -> dict[str, Any]:
    """Return what `feedback evaluate` measured, by set, guard and metric."""
    try:
        content = json.loads((folder / EVALUATION_FILE).read_text(encoding="utf-8"))
        return {
            _named_set(measured): {
                guard: {
                    metric: {"n": measured["n"], **entry}
                    for metric, entry in metrics.items()
                    if isinstance(entry, dict) and "value" in entry
                }
                for guard, metrics in measured["contenders"].items()
            }
            for measured in content["sets"]
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # not evaluated, or damaged: nothing is claimed


def _named_set(measured: Mapping[str, Any]) -> str:
    """Return a set with its task, and with whose labels count as true where several."""
    truth = f", by {measured['truth']}" if measured.get("truth") else ""
    return f"{measured['name']} ({measured['task']}{truth})"
