"""What training and gate came to, in lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.training.job import Measure

from .parts import PARTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.statistics import Interval

    from .measures import Contender, MeasuredSet
    from .parts import Parts


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


def verdict_text(found: Mapping[str, Any]) -> str:
    """Return the gate's outcome, with what it rests on, from a manifest."""
    gate, made = found["gate"], found["promise"]
    lines = [f"gate: {gate['status']}", *(f"  {reason}" for reason in gate["reasons"])]
    if candidate := gate["candidate"]:
        lines += [f"  candidate: {candidate_text(candidate)}", *_rests_on(gate)]
    lines.append(
        f"  promised: false-positive rate at most {gate['terms']['cap']:.4f}, recall "
        f"loss at most {gate['terms']['tolerance']:g}, wrong with chance "
        f"{gate['terms']['delta']:g}; base guard on val: {made['base_fpr']:.4f}"
    )
    lines += [f"alarm: {warned}" for warned in found["alarms"]]
    return "\n".join([*lines, *_next(gate)])


def candidate_text(candidate: Mapping[str, float]) -> str:
    """Return LoRA scale and threshold in words."""
    alpha, threshold = candidate["alpha"], candidate["threshold"]
    who = f"LoRA at {alpha:g}" if alpha else "the base guard"
    return f"{who}, threshold {threshold:.4g}"


def _rests_on(gate: Mapping[str, Any]) -> list[str]:
    lines = []
    if gate["fpr"] is not None:
        lines.append(
            f"  false positives: {gate['false_positives']} of {gate['n_benign']} "
            f"benign prompts ({gate['fpr']:.4f}), at most {gate['fpr_ucb']:.4f}"
        )
    if gate["recall_change"] is not None:
        lines.append(
            f"  recall: {gate['gained']} gained, {gate['lost']} lost of "
            f"{gate['n_harmful']} harmful prompts ({gate['recall_change']:+.4f}), at "
            f"least {gate['recall_change_lcb']:+.4f}"
        )
    return lines


def _next(gate: Mapping[str, Any]) -> list[str]:
    """Say how what passed is run."""
    if gate["status"] != "passed":
        return ["the base guard is kept; what was learnt lies in trained/"]
    candidate = gate["candidate"]
    adapter = " --adapter DIR" if candidate["alpha"] else ""
    strategy = f"-s first_token,threshold={candidate['threshold']:.6g}"
    return [f"run it: safebench run -c llamaguard{adapter} {strategy} -d NAME"]


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


def prevention_text(content: Mapping[str, Any]) -> str:
    """Return what each contender prevents at the input, in a line each."""
    lines = []
    for name, facts in content["contenders"].items():
        one = facts["prevention"]
        price = one["harmless_lost_per_output_prevented"]
        per = f", {price:.2f} for each" if price is not None else ""
        lines.append(
            f"{name}: {one['prevented']} of {one['outputs']} blocked outputs prevented "
            f"at the input, {one['lost']} of {one['harmless']} harmless prompts "
            f"lost{per}; {one['let_through']} prompts let through that it stopped"
        )
    return "\n".join(lines)
