"""What the answers of each guard of any-guardrail mean, read in version 0.7.7.

The library's `score` is documented as "higher = more likely violating". Whether that
is so, what kind of number it is, and what `valid` is about, was read in the code of
each guard; where an answer contradicts it, the sample fails and says so.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - a dataclass names it
from dataclasses import dataclass, field
from typing import Literal

Scale = Literal["probability", "score", "ordinal"]
PROMPT = ("prompt_harm",)
HARM = ("prompt_harm", "response_harm")
INJECTION = ("injection", "jailbreak")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """How to read one guard.

    `tasks` are those that its verdict answers; empty: the user's own policy or rubric
    decides, so `task=` must say. `scale` is that of its score, None where it has none
    (or one that only repeats the verdict). `optional_score`: some set-ups have none,
    which the first answer tells. `cut` is where the verdict turns on the score: a
    number, or ``threshold`` (the guard's own); `cut_is_all`: nothing else flags.
    `verdicts` maps a task to the category whose verdict answers it alone, where
    `valid` mixes several. `lists_all`: every answer has all categories, with scores.
    `required` is a path in the raw answer without which the library would report
    harmless; `words` are those that a written verdict must start with. `keys` are the
    variables with its credentials; `pair` says that prompt and response are separate
    arguments; `truncates` that a long text is cut. `checked` is how this was verified:
    ``server``, ``model`` (random weights), ``answers`` (the library's own reading of
    answers made in a test), or ``untested``.
    """

    tasks: tuple[str, ...] = ()
    scale: Scale | None = None
    optional_score: bool = False
    cut: float | Literal["threshold"] | None = None
    cut_is_all: bool = True
    verdicts: Mapping[str, str] = field(default_factory=dict)
    lists_all: bool = False
    required: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    pair: bool = False
    hosted: bool = False
    truncates: bool = False
    checked: Literal["server", "model", "answers", "untested"] = "untested"


def _injection(**more: object) -> Guard:
    """Return an encoder of two classes: the likelier class is the verdict."""
    return Guard(tasks=INJECTION, scale="probability", cut=0.5, **more)  # type: ignore[arg-type]


def _three_verdicts(request: str, response: str, refusal: str = "") -> Guard:
    """Return a judge with a verdict a task; `valid` mixes prompt and response."""
    verdicts = {"prompt_harm": request, "response_harm": response}
    if refusal:
        verdicts["refusal"] = refusal
    return Guard(tasks=tuple(verdicts), verdicts=verdicts, pair=True, checked="answers")


GUARDS: dict[str, Guard] = {
    # services
    "openai_moderation": Guard(
        tasks=HARM,
        scale="score",
        cut="threshold",
        cut_is_all=False,  # the provider flags at thresholds of its own
        lists_all=True,
        keys=("OPENAI_API_KEY",),
        hosted=True,
        checked="server",
    ),
    "any_llm": Guard(
        scale="score",  # a number that a language model writes
        keys=("OPENAI_API_KEY",),  # or that of the provider in its model_id
        hosted=True,
        checked="server",
    ),
    "alinia": Guard(
        tasks=HARM,
        scale="score",
        optional_score=True,
        required=("result", "flagged"),
        keys=("ALINIA_API_KEY", "ALINIA_ENDPOINT"),
        pair=True,
        hosted=True,
        checked="server",
    ),
    "lakera_guard": Guard(
        tasks=INJECTION,
        scale="ordinal",  # levels of confidence
        required=("flagged",),
        keys=("LAKERA_API_KEY",),
        hosted=True,
        checked="server",
    ),
    "patronus": Guard(
        scale="score",
        optional_score=True,
        keys=("PATRONUS_API_KEY",),
        pair=True,
        hosted=True,
        checked="server",
    ),
    "azure_content_safety": Guard(
        tasks=HARM,
        scale="ordinal",  # severities 0 to 7
        lists_all=True,
        keys=("CONTENT_SAFETY_KEY", "CONTENT_SAFETY_ENDPOINT"),
        hosted=True,
    ),
    "azure_prompt_shields": Guard(
        tasks=INJECTION,  # its score repeats the verdict
        keys=("CONTENT_SAFETY_KEY", "CONTENT_SAFETY_ENDPOINT"),
        hosted=True,
    ),
    "bedrock_guardrails": Guard(
        tasks=HARM,  # its score repeats the verdict
        required=("action",),
        keys=("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        hosted=True,
    ),
    "watsonx_guardian": Guard(
        tasks=HARM,
        scale="score",
        keys=("WATSONX_APIKEY", "WATSONX_URL", "WATSONX_PROJECT_ID"),
        hosted=True,
    ),
    # encoders
    "deepset": _injection(checked="model"),
    "injec_guard": _injection(),
    "jasper": _injection(checked="model"),
    "pangolin": _injection(checked="model"),
    "prompt_guard": _injection(truncates=True, checked="model"),
    "protectai": _injection(checked="model"),
    "sentinel": _injection(checked="model"),
    "susfactor": Guard(tasks=INJECTION, scale="probability", cut="threshold"),
    "harm_guard": Guard(
        tasks=HARM, scale="probability", cut="threshold", pair=True, checked="model"
    ),
    "duo_guard": Guard(tasks=HARM, scale="score", cut="threshold", lists_all=True),
    "bielik_guard": Guard(
        tasks=HARM,
        scale="score",
        cut="threshold",
        lists_all=True,
        truncates=True,
        checked="model",
    ),
    "off_topic": Guard(scale="probability", cut=0.5),
    # judges that write a verdict
    "llama_guard": Guard(
        tasks=HARM, words=("safe", "unsafe"), pair=True, checked="answers"
    ),
    "shield_gemma": Guard(tasks=PROMPT, scale="probability", cut="threshold"),
    "wild_guard": _three_verdicts(
        "harmful_request", "harmful_response", "response_refusal"
    ),
    "poly_guard": _three_verdicts(
        "harmful_request", "harmful_response", "response_refusal"
    ),
    "nemotron_content_safety": _three_verdicts("prompt_harm", "response_harm"),
    "qwen3_guard": Guard(
        tasks=(*HARM, "refusal"),
        scale="ordinal",  # safe 0, controversial 0.5, unsafe 1
        verdicts={"refusal": "refusal"},
        pair=True,
        checked="answers",
    ),
    # the severities of prompt and response are joined before anybody can read them
    "qwen3_guard_stream": Guard(tasks=PROMPT, scale="ordinal", pair=True),
    "kanana_safeguard": Guard(tasks=HARM, pair=True, checked="answers"),
    "granite_guardian": Guard(pair=True, checked="answers"),
    "dyna_guard": Guard(pair=True, checked="answers"),
    "gpt_oss_safeguard": Guard(checked="answers"),
    # `valid` takes jailbreaks with it
    "gli_guard": Guard(tasks=PROMPT, verdicts={"prompt_harm": "prompt_safety"}),
    "gli_ner_pii": Guard(),
    "lettuce_detect": Guard(tasks=("groundedness",), pair=True),
    # judges by a rubric
    "flowjudge": Guard(scale="ordinal", pair=True),
    "glider": Guard(scale="ordinal", optional_score=True, pair=True, checked="answers"),
    "prometheus": Guard(scale="ordinal", pair=True, checked="answers"),
    "compass_judger": Guard(scale="ordinal", pair=True, checked="answers"),
    "selene": Guard(scale="ordinal", pair=True, checked="answers"),
}
