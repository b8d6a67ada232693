"""The strategies of this plugin, by name."""

from __future__ import annotations

from safebench.evidence import MemberLogits
from safebench.specs import StrategySpec

_HERE = "safebench_bert_ensemble.strategies"
_NEEDS = frozenset({MemberLogits})

_SCORES = {
    "mean_logits": "softmax of the members' mean logits: a geometric pool",
    "mean_probs": "mean of the members' probabilities: an arithmetic pool",
}
# name -> what it is, and the score whose errors it should find
_UNCERTAINTIES = {
    "logit_mean_entropy": ("entropy of the pooled logits", "mean_logits"),
    "predictive_entropy": ("entropy of the mean probability", "mean_probs"),
    "expected_entropy": ("mean entropy of the members: noise", "mean_probs"),
    "mutual_information": ("what members disagree about, in nats", "mean_probs"),
    "vote_entropy": ("entropy of the members' votes", "mean_probs"),
    "variation_ratio": ("share of votes against the majority", "mean_probs"),
    "member_std": ("standard deviation of the members' probability", "mean_probs"),
}

SPECS = [
    StrategySpec(
        name=name,
        summary=summary,
        load=f"{_HERE}.judging:{name}",
        options=f"{_HERE}.options:PoolOptions",
        needs=_NEEDS,
        emits=frozenset({"score", "probability"}),
    )
    for name, summary in _SCORES.items()
] + [
    StrategySpec(
        name=name,
        summary=summary,
        load=f"{_HERE}.judging:{name}",
        options=f"{_HERE}.options:PoolOptions",
        needs=_NEEDS,
        emits=frozenset({"uncertainty"}),
        decision_from=decides,
    )
    for name, (summary, decides) in _UNCERTAINTIES.items()
]
