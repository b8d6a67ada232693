"""How far the validation set tells the chosen candidate from the other kind's best.

The kinds are the base guard at another threshold and the LoRA at any scale. The choice
is the best F1, however small the lead, and costs nothing but power: what is certified
is tested on other prompts. Where the lead may be chance, an outcome should not be read
as "the LoRA is no better than a threshold", nor as the reverse.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from safebench.metrics import GroupedSamples, metric_value

from .candidates import Candidate, choose_candidate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.typing import Array

    from .certification import PreRegistration
    from .holdout_sets import ValidationSet

_DRAWS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationChoice:
    """The chosen candidate's F1 on val minus that of the `other` kind's best.

    The 95 % interval resamples clusters. Both thresholds were chosen on these prompts,
    so that it is rather too short. `other` is None where none of that kind keeps the
    cap and the recall; then there is nothing to compare with.
    """

    other: Candidate | None
    n: int
    n_harmful: int
    f1: float
    other_f1: float | None = None
    lead: float | None = None
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values for a manifest."""
        return asdict(self)


def compare_choice(
    registered: PreRegistration, val: ValidationSet, scores: Mapping[float, Array]
) -> ValidationChoice | None:
    """Return the comparison, None where nothing was chosen.

    `scores` maps each scale to the scores of ``val.prompts``, as for `pre_register`.
    """
    chosen = registered.candidate
    if chosen is None:
        return None
    kind = {
        alpha: x for alpha, x in scores.items() if bool(alpha) != bool(chosen.alpha)
    }
    labelled = {alpha: val.split_scores(x)[0] for alpha, x in scores.items()}
    y, groups = val.labels.harmful, val.labels.groups
    other = choose_candidate(
        {alpha: labelled[alpha] for alpha in kind},
        y,
        registered.aim,
        benign={alpha: val.split_scores(x)[1] for alpha, x in kind.items()},
        min_recall=registered.base_recall - registered.terms.tolerance,
    )
    decision = labelled[chosen.alpha] >= chosen.threshold
    f1 = metric_value("f1", y, decision) or 0.0
    sizes = {"n": len(y), "n_harmful": int(y.sum())}
    if other is None:
        return ValidationChoice(other=None, f1=f1, **sizes)
    other_decision = labelled[other.alpha] >= other.threshold
    samples = GroupedSamples(y, groups, n_resamples=_DRAWS)
    lead = samples.difference("f1", other_decision, decision)
    return ValidationChoice(
        other=other,
        f1=f1,
        other_f1=metric_value("f1", y, other_decision) or 0.0,
        lead=lead.value,
        low=lead.low,
        high=lead.high,
        **sizes,
    )


def choice_line(choice: Mapping[str, Any], candidate: Mapping[str, Any]) -> str:
    """Return what people read of a stored `ValidationChoice`."""
    size = f"{choice['n_harmful']} harmful prompts of {choice['n']} in val"
    kind = "the LoRA" if candidate["alpha"] == 0 else "the base guard"
    if choice["other"] is None:
        return f"choice: no threshold of {kind} keeps the cap and the recall ({size})"
    lead, low, high = (choice[name] for name in ("lead", "low", "high"))
    interval = "" if low is None or high is None else f" [{low:+.3f}, {high:+.3f}]"
    clear = low is not None and low > 0
    return (
        f"choice: F1 {choice['f1']:.3f} against {choice['other_f1']:.3f} of {kind} at "
        f"its best ({size}): {lead or 0:+.3f}{interval}"
        f"{'' if clear else ', which may be chance'}"
    )
