"""The outcome of a training as text: the certificate, and how to run the result."""

from __future__ import annotations

import shlex
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from .choice import choice_line
from .power import power_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench_feedback_finetune.options import FeedbackTrainOptions

# Options of the guard whose value `safebench run` must be told, if not the default.
_PASSED_ON = ("policy", "format", "dtype")


def certificate_text(manifest: Mapping[str, Any], command: str) -> str:
    """Return the certificate in a training's manifest, with the numbers behind it.

    `command` runs the guard, but for strategy and dataset; see `run_command`.
    """
    gate, registered = manifest["gate"], manifest["promise"]
    terms = gate["terms"]
    lines = [f"gate: {gate['status']}", *(f"  {reason}" for reason in gate["reasons"])]
    if candidate := gate["candidate"]:
        lines += [
            f"  candidate: {candidate_text(candidate)}",
            *_supporting_counts(gate),
        ]
        if choice := manifest.get("choice"):
            lines.append(f"  {choice_line(choice, candidate)}")
    if power := gate.get("power"):  # trainings of before have none
        lines += [f"  {line}" for line in power_lines(power)]
    lines.append(
        f"  promised with {1 - terms['delta']:.4g} confidence: false-positive rate "
        f"{terms['cap']:.4f} at most (the base guard's on val: "
        f"{registered['base_fpr']:.4f}), recall lost {terms['tolerance']:g} at most"
    )
    lines.append(
        f"  chosen on val at a false-positive rate of {registered['aim']:.4f} at most: "
        f"what {registered['n_benign']} benign prompts of calib can confirm"
    )
    if registered["aim"] < registered["base_fpr"]:
        lines.append(
            "  that is below the base guard's own rate: a candidate had to flag fewer "
            "benign prompts than it, which costs recall; more --benign prompts or a "
            "higher --cap-margin ask for less"
        )
    lines += [f"alarm: {warning}" for warning in manifest["alarms"]]
    return "\n".join([*lines, *_how_to_run(gate, command)])


def candidate_text(candidate: Mapping[str, float]) -> str:
    """Return LoRA scale and threshold in words."""
    alpha, threshold = candidate["alpha"], candidate["threshold"]
    guard = f"LoRA at scale {alpha:g}" if alpha else "the base guard"
    return f"{guard}, threshold {threshold:.4g}"


def _supporting_counts(gate: Mapping[str, Any]) -> list[str]:
    lines = []
    if gate["fpr"] is not None:
        lines.append(
            f"  false positives: {gate['false_positives']} of {gate['n_benign']} "
            f"benign prompts of calib ({gate['fpr']:.4f}, upper bound "
            f"{gate['fpr_ucb']:.4f})"
        )
    if gate["recall_change"] is not None:
        lines.append(
            f"  recall: {gate['gained']} gained, {gate['lost']} lost of "
            f"{gate['n_harmful']} harmful prompts of calib "
            f"({gate['recall_change']:+.4f}, lower bound "
            f"{gate['recall_change_lcb']:+.4f})"
        )
    return lines


def _how_to_run(gate: Mapping[str, Any], command: str) -> list[str]:
    if gate["status"] != "passed":
        return ["the base guard is kept; what was learnt lies in trained/"]
    candidate = gate["candidate"]
    lines = []
    if not candidate["alpha"]:
        lines = ["nothing that was learnt did better on val than the base guard itself"]
    strategy = f"-s first_token,threshold={candidate['threshold']:.6g}"
    return [*lines, f"run it: {command} {strategy} -d NAME"]


def run_command(options: FeedbackTrainOptions, manifest: Mapping[str, Any]) -> str:
    """Return the command that runs the guard, without strategy and dataset."""
    candidate = manifest["gate"]["candidate"]
    words = ["safebench run -c llamaguard"]
    if options.guard:
        words.append(f"--model {shlex.quote(options.guard)}")
    if candidate and candidate["alpha"]:
        words.append(f"--adapter {shlex.quote(options.out)}")
    for option in fields(options):
        value = getattr(options, option.name)
        if option.name in _PASSED_ON and value != option.default:
            words.append(f"--set {option.name}={shlex.quote(value)}")
    return " ".join(words)
