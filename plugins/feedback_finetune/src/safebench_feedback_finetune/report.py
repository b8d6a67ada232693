"""What training and gate came to, in lines for people."""

from __future__ import annotations

import shlex
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from safebench.training.job import Measure

from .measures import COMPARED
from .parts import PARTS
from .summary import aligned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.statistics import Interval

    from .measures import Contender, MeasuredSet
    from .parts import Parts
    from .train_options import TrainOptions


def parts_text(parts: Parts) -> str:
    """Return the sizes of the parts in a line each."""
    found = parts.counts()
    lines = [
        f"{part}: {found[part]['collected']} collected, {found[part]['benign']} benign"
        for part in PARTS
    ]
    if parts.left_out:
        lines.append(f"{parts.left_out} benign prompts left out: like a collected one")
    return "\n".join(lines)


def verdict_text(found: Mapping[str, Any], run: str) -> str:
    """Return the gate's outcome, with what it rests on, from a manifest.

    `run` is the command that runs the guard, without its strategy.
    """
    gate, made = found["gate"], found["promise"]
    terms = gate["terms"]
    lines = [f"gate: {gate['status']}", *(f"  {reason}" for reason in gate["reasons"])]
    if candidate := gate["candidate"]:
        lines += [f"  candidate: {candidate_text(candidate)}", *_rests_on(gate)]
    lines.append(
        f"  promised with {1 - terms['delta']:.4g} confidence: false-positive rate "
        f"{terms['cap']:.4f} at most (the base guard's on val: "
        f"{made['base_fpr']:.4f}), recall lost {terms['tolerance']:g} at most"
    )
    lines.append(
        f"  chosen on val at a false-positive rate of {made['aim']:.4f} at most: what "
        f"{made['n_benign']} benign prompts of calib can confirm"
    )
    lines += [f"alarm: {warned}" for warned in found["alarms"]]
    return "\n".join([*lines, *_next(gate, run)])


def candidate_text(candidate: Mapping[str, float]) -> str:
    """Return LoRA scale and threshold in words."""
    alpha, threshold = candidate["alpha"], candidate["threshold"]
    who = f"LoRA at scale {alpha:g}" if alpha else "the base guard"
    return f"{who}, threshold {threshold:.4g}"


def _rests_on(gate: Mapping[str, Any]) -> list[str]:
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


def _next(gate: Mapping[str, Any], run: str) -> list[str]:
    """Say how what passed is run."""
    if gate["status"] != "passed":
        return ["the base guard is kept; what was learnt lies in trained/"]
    candidate = gate["candidate"]
    lines = []
    if not candidate["alpha"]:
        lines = ["nothing that was learnt did better on val than the base guard itself"]
    strategy = f"-s first_token,threshold={candidate['threshold']:.6g}"
    return [*lines, f"run it: {run} {strategy} -d NAME"]


def run_command(options: TrainOptions, found: Mapping[str, Any]) -> str:
    """Return how the guard that passed is run, but for strategy and dataset."""
    candidate = found["gate"]["candidate"]
    words = ["safebench run -c llamaguard"]
    if options.guard:
        words.append(f"--model {shlex.quote(options.guard)}")
    if candidate and candidate["alpha"]:
        words.append(f"--adapter {shlex.quote(options.out)}")
    for one in fields(options):
        value = getattr(options, one.name)
        if one.name in ("policy", "format", "dtype") and value != one.default:
            words.append(f"--set {one.name}={shlex.quote(value)}")
    return " ".join(words)


def measures_of(
    contender: Contender, found: MeasuredSet, values: Mapping[str, Interval]
) -> list[Measure]:
    """Return the metrics of a contender on a set, to be shown in a table."""
    return [
        Measure(
            who=contender.name,
            part=f"{found.name} {found.task}",
            metric=name,
            value=one.value,
            low=one.low,
            high=one.high,
            method=one.method,
            n=len(found.y),
        )
        for name, one in values.items()
    ]


def differences_text(sets: Sequence[Mapping[str, Any]]) -> str:
    """Return as a table how much better each contender is than base and control."""
    rows = [
        ("difference", "set", *(f"{name} [95 %]" for name in COMPARED), "McNemar p")
    ]
    for one in sets:
        for name, facts in one["contenders"].items():
            for other, minus in facts.get("minus", {}).items():
                cells = [_difference(minus[metric]) for metric in COMPARED]
                p = _p_value(minus["mcnemar"]["p"])
                rows.append((f"{name} - {other}", one["name"], *cells, p))
    return aligned(rows)


def _p_value(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"  # noqa: PLR2004 - as it is shown


def _difference(one: Mapping[str, Any]) -> str:
    if one["value"] is None:
        return "-"
    if one["low"] is None or one["high"] is None:
        return f"{one['value']:+.3f}"
    return f"{one['value']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]"


def prevention_text(content: Mapping[str, Any]) -> str:
    """Return as a table what each contender prevents at the input, and at what cost."""
    contenders = content["contenders"]
    first = next(iter(contenders.values()))["prevention"]
    rows = [("at the input", "prevented", "lost", "lost each", "let through")]
    for name, facts in contenders.items():
        one = facts["prevention"]
        price = one["harmless_lost_per_output_prevented"]
        each = "-" if price is None else f"{price:.2f}"
        counts = (one["prevented"], one["lost"], each, one["let_through"])
        rows.append((name, *map(str, counts)))
    return (
        f"{aligned(rows)}\n"
        f"prevented: of {first['outputs']} blocked outputs to prompts that the base "
        f"guard lets pass\n"
        f"lost: of {first['harmless']} harmless prompts; lost each: for one output\n"
        "let through: prompts with a blocked output that the base guard stops"
    )
