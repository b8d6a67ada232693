"""The packages of this project that bring more components, and how to install them.

Without a package nothing of it can be asked for a name, so the names stand here. A test
compares them with what the plugins declare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import nearest_name, unknown_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from .errors import UnknownNameError


@dataclass(frozen=True, slots=True)
class Package:
    """A package of plugins: what it is called, and the names that it brings by kind.

    `extra` is the extra of safebench that installs it; `names` holds aliases too.
    """

    distribution: str
    extra: str
    names: dict[str, tuple[str, ...]]

    @property
    def install(self) -> str:
        """The command that installs it; quoted, as shells expand brackets."""
        return f"pip install 'safebench[{self.extra}]'"


PACKAGES = (
    Package(
        "safebench-any-guardrail",
        "any-guardrail",
        {
            "classifier": ("any_guardrail", "openai_moderation"),
            "strategy": ("provider_decision",),
        },
    ),
    Package(
        "safebench-bert-ensemble",
        "bert-ensemble",
        {
            "classifier": ("bert_ensemble", "frozen_encoder", "tfidf"),
            "strategy": (
                *("category_probs", "mean_logits", "mean_probs", "member_std"),
                *("expected_entropy", "logit_mean_entropy", "mutual_information"),
                *("predictive_entropy", "variation_ratio", "vote_entropy"),
            ),
            "trainer": ("bert_ensemble",),
            "artifact": ("bert_ensemble",),
        },
    ),
    Package(
        "safebench-cost-model",
        "cost-model",
        {
            "classifier": ("cost_model", "cost_stack", "cost_tfidf"),
            "strategy": (
                *("cost", "cost_platt", "cost_sigmoid", "cost_sign", "cost_spread"),
            ),
            "trainer": ("cost_model",),
            "artifact": ("cost_model",),
        },
    ),
    Package(
        "safebench-feedback-finetune",
        "feedback-finetune",
        {"command": ("feedback",), "artifact": ("feedback_finetune",)},
    ),
    Package(
        "safebench-llamaguard-marginal",
        "llamaguard",
        {
            "classifier": ("llamaguard", "guard"),
            "strategy": (
                *("ccp", "energy", "entropy_uncertainty", "first_token", "greedy"),
                *("joint", "margin", "marginal_any", "marginal_fixed"),
                *("marginal_slot1", "max_token_entropy", "mean_token_entropy", "msp"),
                *("original_entropy_uncertainty", "original_greedy"),
                *("original_logtoku", "original_marginal_any"),
                *("original_marginal_fixed", "original_probability_uncertainty"),
                *("original_token_probability", "perplexity"),
                *(
                    "probability_uncertainty",
                    "reasoning_spread",
                    "sampled_verdict_entropy",
                ),
                *("self_consistency", "token_probability", "verdict_entropy"),
            ),
        },
    ),
    Package("safebench-logtoku", "logtoku", {"strategy": ("logtoku",)}),
    Package("safebench-ray", "ray", {"executor": ("ray",)}),
)

# Of names whose package would have to be installed first: a guess among what is there
# costs a glance, and a wrong one here an installation.
_SAME_WORD = 0.7


def missing_packages(installed: Collection[str], kind: str) -> list[Package]:
    """Return the packages with names of a kind that are not among the `installed`.

    A package whose plugin is broken is installed: installing it again mends nothing.
    """
    return [p for p in PACKAGES if kind in p.names and p.distribution not in installed]


def unknown_component(
    kind: str, name: str, known: Iterable[str], installed: Collection[str]
) -> UnknownNameError:
    """Build the error for an unknown name, with the package that would bring it.

    A name that is nearer to one of a missing package than to a known one is taken for
    a misspelling of that.
    """
    names = sorted(known)
    error = unknown_name(kind, name, names)
    short_name = name.rpartition(":")[2]
    owners = {
        brought: package
        for package in missing_packages(installed, kind)
        for brought in package.names[kind]
    }
    meant = nearest_name(short_name, [*names, *owners], cutoff=_SAME_WORD)
    if meant not in owners:
        return error
    asked = "" if meant == short_name.casefold() else f"; did you mean {meant!r}?"
    return type(error)(
        f"unknown {kind} {name!r}{asked}\n"
        f"{how_to_install(kind, meant, installed)}"
        f"  there is: {', '.join(names) or 'none'}"
    )


def how_to_install(kind: str, name: str, installed: Collection[str]) -> str:
    """Return a line for the missing package that brings a name, or ""."""
    for package in missing_packages(installed, kind):
        if name in package.names[kind]:
            return (
                f"  {name} comes with {package.distribution}, which is not "
                f"installed: {package.install}\n"
            )
    return ""


def word_list_note(default: str, installed: Collection[str]) -> str:
    """Return what to say where a list of words judges because no model is there."""
    advice = how_to_install("classifier", "llamaguard", installed).strip()
    if default != "keyword" or not advice:
        return ""
    return f"note: keyword judges by a list of words; {advice}"
