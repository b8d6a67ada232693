"""What a server can do, asked once before a run: log-probabilities, token ids.

So that what it cannot give is left out before a sample is spent, and evidence says what
it is. What is stored settles it, too: a run that is read again needs no server.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from safebench.errors import ModelError, OptionError
from safebench.services import MalformedAnswerError
from safebench_llamaguard_marginal.identity import model_identity
from safebench_llamaguard_marginal.texts.requests import RequestForm
from safebench_llamaguard_marginal.texts.server import accepted_form

from .completion_answers import parse_answer
from .endpoint import Endpoint, api_key
from .endpoint_checks import (
    PROBE_TEXTS,
    ExplainedErrors,
    NoCompletionsError,
    ask_text,
    reason_of,
)
from .server_identity import same_server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench_llamaguard_marginal.options import GuardOptions
    from safebench_llamaguard_marginal.texts.requests import Prompt

_ANY_IDS = ((1, 1),)  # a prompt of tokens that every vocabulary has
_MESSAGES = ({"role": "user", "content": "Hello."},)
_REFUSED = (400, 422)
_SERVER_ERROR = 500
_BUSY = (429, 502, 503, 504)
_KEPT = 60.0  # seconds: a page that scores prompts one by one does not ask before each
_MAX_REASON = 120  # characters of what a server said
_STORED = {
    "logprobs": "the server gave no log-probabilities when this was recorded",
    "api": "the chat endpoint was what the server had when this was recorded",
}


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a server gives: log-probabilities by `api`, or texts alone (``""``).

    `because` says how that is known where it gives less than all. `spent` is how many
    requests it took.
    """

    api: Literal["completions", "chat", ""]
    because: str = ""
    spent: int = 0


_known: dict[tuple[Any, ...], tuple[float, Abilities]] = {}


def settle(
    options: GuardOptions, stored: Sequence[Mapping[str, Any]]
) -> tuple[GuardOptions, dict[str, Any]]:
    """Return the options of a server without "auto", as `ClassifierSpec.settle` says.

    Raises `ModelError` where evidence of another server is stored, `OptionError` for
    options that this one has no use for.
    """
    readings = _readings(options)
    matching = [(o, entry) for entry in stored for o in readings if _is_of(entry, o)]
    if matching:
        return _as_stored(options, *same_server(options, matching))
    if options.reads_texts or "auto" not in (options.logprobs, options.api):
        return options, {}
    try:
        abilities = _abilities_once(options)
    except ModelError as error:
        return _unsettled(options, error), {}
    settled = replace(options, spent=abilities.spent)
    if not abilities.api:
        if options.logprobs == "auto":
            found = (("logprobs", abilities.because),)
            settled = replace(settled, logprobs=False, found=found)
        return settled, {}  # else refused where it is loaded, with what would work
    settled = replace(settled, logprobs=True)
    return _with_api(settled, abilities.api, abilities.because), {}


def _unsettled(options: GuardOptions, error: ModelError) -> GuardOptions:
    """Return options by which loading says in turn what is wrong with a server.

    So a server that is away costs its part of a run, and not the others. Raises `error`
    for options of texts, which nobody could go on with, and where requests are counted.
    """
    if options.max_requests is not None:
        raise error
    try:
        return replace(options, logprobs=True)
    except OptionError:
        raise error from None


def _readings(options: GuardOptions) -> list[GuardOptions]:
    """Return what the options may come to: trees, texts, or either."""
    if options.logprobs != "auto":
        return [options]
    readings = []
    for logprobs in (True, False):
        try:
            readings.append(replace(options, logprobs=logprobs))
        except OptionError:  # options of the other
            continue
    return readings


def _is_of(stored: Mapping[str, Any], options: GuardOptions) -> bool:
    """Tell whether evidence is what would be recorded with these options."""
    identity = json.loads(json.dumps(model_identity(options), default=str))
    return bool(identity == stored["identity"])


def _as_stored(
    options: GuardOptions, reading: GuardOptions, stored: Mapping[str, Any]
) -> tuple[GuardOptions, dict[str, Any]]:
    """Return the options that stored evidence goes on with, and its facts."""
    facts = stored["facts"]
    known = {
        name: facts[name]
        for name in ("served_model", "served_from", "api")
        if name in facts
    }
    if reading.reads_texts:
        if options.logprobs == "auto":
            found = (*reading.found, ("logprobs", _STORED["logprobs"]))
            reading = replace(reading, found=found)
        return reading, known
    return _with_api(reading, facts.get("api", ""), _STORED["api"]), known


def _with_api(options: GuardOptions, api: str, because: str) -> GuardOptions:
    """Return the options with the api that was found, where the user named none."""
    found = (*options.found, ("api", because))
    if options.api == "auto" and api == "completions":
        return replace(options, api="completions", found=found)
    if options.api == "auto" and api == "chat":
        return replace(options, api="chat", found=found)
    return options


def _abilities_once(options: GuardOptions) -> Abilities:
    """Return what a server gives; asked again after a minute, and not before."""
    wanted = (options.served_model, options.api, options.logprobs)
    key = (options.base_url, api_key(options), *wanted)
    when, known = _known.get(key, (0.0, None))
    if known is not None and time.monotonic() - when < _KEPT:
        return replace(known, spent=0)
    endpoint = Endpoint(options)
    try:
        abilities = _abilities(endpoint)
    finally:
        endpoint.close()
    _known[key] = (time.monotonic(), abilities)
    return replace(abilities, spent=endpoint.service.n_requests)


def _abilities(endpoint: Endpoint) -> Abilities:
    """Ask a server for log-probabilities: by token ids, then of a conversation.

    Raises ModelError where it answers neither with nor without.
    """
    explained = ExplainedErrors(endpoint)
    explained.run(endpoint.pick_model)
    asks: dict[Literal["completions", "chat"], Callable[[Endpoint], bool]] = {
        "completions": _gives_after_ids,
        "chat": _gives_in_chat,
    }
    refusals: dict[str, str] = {}
    for api, gives in asks.items():
        if endpoint.options.api not in ("auto", api):
            continue
        try:
            if explained.run(partial(gives, endpoint)):
                return Abilities(api, refusals.get("completions", ""))
            refusals[api] = ""
        except NoCompletionsError as error:
            refusals[api] = str(error)
    if "" not in refusals.values():
        _check_texts(endpoint, refusals)
    reason = next((text for text in refusals.values() if "logprob" in text), "")
    return Abilities("", _without(reason))


def _without(reason: str) -> str:
    return (
        "the server gives no log-probabilities "
        f"({reason[:_MAX_REASON] or 'an answer came without them'})"
    )


def _gives_after_ids(endpoint: Endpoint) -> bool:
    """Tell whether log-probabilities come with completions of token ids.

    Raises what `ExplainedErrors` turns into reasons.
    """
    ask = partial(endpoint.completions, _ANY_IDS, top=1)
    try:
        text = _asked_twice(endpoint, ask)
    except Exception as error:
        status = getattr(error, "status_code", None)
        if status == _SERVER_ERROR:  # how some servers refuse what they do not know
            raise NoCompletionsError(reason_of(error)) from None
        if status is not None and status not in _BUSY:
            raise
        text = endpoint.attempt_or_wait(ask)
    choice = _first_choice(text)
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, dict) or not logprobs.get("top_logprobs"):
        return False
    # the tokenizer is compared by texts
    endpoint.attempt_or_wait(lambda: ask_text(endpoint, PROBE_TEXTS[0]))
    return True


def _asked_twice(endpoint: Endpoint, ask: Callable[[], str]) -> str:
    """Return an answer; what fails within the server is asked for once more.

    All evidence of a run follows from it, and a server may fail once by chance.
    """
    try:
        return endpoint.attempt(ask)
    except Exception as error:
        if getattr(error, "status_code", None) != _SERVER_ERROR:
            raise
        time.sleep(endpoint.options.backoff)
        return endpoint.attempt(ask)


def _gives_in_chat(endpoint: Endpoint) -> bool:
    """Tell whether log-probabilities come with answers to conversations."""
    for endpoint.vendor_fields in (True, False):
        try:
            text = endpoint.attempt_or_wait(
                lambda: endpoint.chat(_MESSAGES, top=1, tokens=1)
            )
        except Exception as error:
            refused = getattr(error, "status_code", None) in _REFUSED
            if not (refused and endpoint.vendor_fields):
                raise
        else:
            break
    logprobs = _first_choice(text).get("logprobs")
    return isinstance(logprobs, dict) and bool(logprobs.get("content"))


def _first_choice(text: str) -> dict[str, Any]:
    choices = parse_answer(text).get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise MalformedAnswerError("no list of `choices`")
    return choices[0]


def _check_texts(endpoint: Endpoint, refusals: Mapping[str, str]) -> None:
    """Raise ModelError where a server that refuses log-probabilities refuses all."""
    explained = ExplainedErrors(endpoint)
    form = RequestForm(tokens=1)
    prompts: dict[str, Prompt] = {"chat": _MESSAGES, "completions": _ANY_IDS[0]}
    for api in ("chat", "completions"):
        if api not in refusals:
            continue
        try:
            ask = partial(accepted_form, endpoint, form, prompts[api], samples=False)
            explained.run(ask)
        except NoCompletionsError:
            continue
        return
    reasons = "; ".join(f"{api}: {reason}" for api, reason in refusals.items())
    raise ModelError(f"{endpoint.where}: no answers at all ({reasons})")
