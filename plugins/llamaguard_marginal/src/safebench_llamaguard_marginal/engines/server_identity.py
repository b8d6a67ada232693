"""Whether the server that answers now is the one that evidence was recorded of.

By what it says of its model, and by the log-probabilities of a few short prompts, which
are stored beside the evidence: weights that were swapped under one name change them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError
from safebench.services import MalformedAnswerError

from .completion_answers import MINUS_INFINITY, TOKEN, parse_answer
from .endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench_llamaguard_marginal.options import GuardOptions

    from .completion_answers import NextToken
    from .endpoint import ListedModel

    # options that say what is recorded, and what is stored of it
    Stored = tuple[GuardOptions, Mapping[str, Any]]

# Mean difference of log-probabilities between two requests. Half precision and the
# cache of prefixes change them by a few hundredths, other weights by some units.
SAME_VALUES = 0.1
_MOST_SECONDS = 10.0  # that a server is waited for whose evidence is stored
_KEY = "server"  # of a classifier's state
_MIXED = "mixed"  # in it: how another server differs that gave a part of the evidence
_SAID = ("served_model", "served_from")


def server_state(
    model: ListedModel,
    prompts: Sequence[Sequence[int]] = (),
    answers: Sequence[NextToken | None] = (),
) -> dict[str, Any]:
    """Return what is stored beside evidence, to know the server again.

    `answers` are the likeliest tokens after `prompts`.
    """
    state: dict[str, Any] = {"max_model_len": model.max_tokens}
    if answers:
        state["prompts"] = [list(prompt) for prompt in prompts]
        state["values"] = [
            {f"{TOKEN}{token}": value for token, value in answer.logp.items()}
            if answer
            else {}
            for answer in answers
        ]
    return {_KEY: state}


def beside_earlier(
    state: Mapping[str, Any], earlier: Mapping[str, Any], accepted: str = ""
) -> dict[str, Any]:
    """Return what is stored of a server, noting another that gave earlier evidence.

    `earlier` is the state beside that evidence, and `accepted` how its server differs
    where the user said that it is the same model.
    """
    own, old = state.get(_KEY), earlier.get(_KEY)
    if not own or not old:
        return dict(state)
    differs = differing_values(old.get("values") or (), own.get("values") or ())
    why = "other log-probabilities were given for a part of the stored evidence"
    mixed = old.get(_MIXED) or accepted or (why if differs else "")
    return {**state, _KEY: own | ({_MIXED: mixed} if mixed else {})}


def differing_values(
    before: Sequence[Mapping[Any, float]], after: Sequence[Mapping[Any, float]]
) -> bool:
    """Tell whether the log-probabilities after some prompts are those of other weights.

    `before` lists the likeliest tokens. Of `after` the likeliest one alone is sure to
    be listed: others may be those that another user asked for.
    """
    differences = []
    for old, new in zip(before, after, strict=False):
        if not old or not new:
            continue
        differences += [abs(old[token] - new[token]) for token in old.keys() & new]
        # what a list of the likeliest lacks is at most as likely as its last
        first, now_first = max(old, key=old.__getitem__), max(new, key=new.__getitem__)
        if first not in new:
            differences.append(max(0.0, old[first] - new[now_first]))
        if now_first not in old:
            differences.append(max(0.0, new[now_first] - min(old.values())))
    return sum(differences) > SAME_VALUES * len(differences)


def without_server(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what else a classifier's state holds."""
    return {name: value for name, value in state.items() if name != _KEY}


def same_server(
    options: GuardOptions, stored: Sequence[Stored]
) -> tuple[GuardOptions, Mapping[str, Any]]:
    """Return which of the `stored` evidence is that of the server, the latest of it.

    A server that does not answer cannot be asked: then it is the only one. Raises
    `ModelError` where none is, or several may be.
    """
    accepts = options.other_server == "accept"
    endpoint = Endpoint(replace(options, timeout=min(options.timeout, _MOST_SECONDS)))
    try:
        listed = _listed(endpoint)
        problems = [_difference(endpoint, listed, entry) for _, entry in stored]
    finally:
        endpoint.close()
    same = [own for own, why in zip(stored, problems, strict=True) if not why]
    if not same and not accepts:
        raise ModelError(
            f"{endpoint.where}: evidence is stored, and {problems[-1]}: --refresh "
            "records again, another --out keeps both, and other_server=accept takes "
            "it for the same model"
        )
    several = len({json.dumps(entry["facts"], sort_keys=True) for _, entry in same})
    if listed is None and several > 1 and not accepts:
        names = ", ".join(str(entry["facts"].get(_SAID[0])) for _, entry in same)
        raise ModelError(
            f"{endpoint.where}: evidence of several servers is stored ({names}), and "
            "nothing answers that would say which one is meant; other_server=accept "
            "takes the latest"
        )
    if same:
        reading, entry = same[-1]
        mixed = (entry["state"].get(_KEY) or {}).get(_MIXED)
    else:
        reading, entry = stored[-1]
        mixed = f"other_server=accept: {problems[-1]}"
    if mixed:
        reading = replace(reading, found=(*reading.found, ("other_server", mixed)))
    return reading, entry


def _listed(endpoint: Endpoint) -> list[ListedModel] | None:
    """Return the models of a server, None where nobody answers for them."""
    try:
        return endpoint.models()
    except Exception:  # noqa: BLE001 - client libraries raise anything
        return None


def _difference(
    endpoint: Endpoint,
    listed: Sequence[ListedModel] | None,
    stored: Mapping[str, Any],
) -> str:
    """Say how a server differs from that of stored evidence; "" where it does not."""
    if listed is None:
        return ""
    facts, state = stored["facts"], stored["state"].get(_KEY) or {}
    name = facts.get("served_model")
    named = endpoint.options.served_model
    model = next((model for model in listed if model.id == (named or name)), None)
    if model is None or (not named and len(listed) > 1):
        names = ", ".join(model.id for model in listed[:8]) or "none"
        return f"it is of {name}, where the server now has {names}"
    root, length = facts.get("served_from", ""), state.get("max_model_len", 0)
    if root and model.root and root != model.root:
        return f"it is of {name} from {root}, which is now from {model.root}"
    if length and model.max_tokens and length != model.max_tokens:
        return (
            f"{name} took {length} tokens when it was recorded, and now takes "
            f"{model.max_tokens}"
        )
    endpoint.served_model = model.id
    return _other_values(endpoint, state, str(name))


def _other_values(endpoint: Endpoint, state: Mapping[str, Any], name: str) -> str:
    """Say that other weights answer; "" where they are the same, or nobody knows."""
    before = state.get("values")
    if not before:
        return ""
    top = max(map(len, before))
    try:
        text = endpoint.attempt(
            lambda: endpoint.completions(state["prompts"], top=top), retries=1
        )
        after = _values(text, len(before))
    except Exception:  # noqa: BLE001 - a server that is busy or away: as if not there
        return ""
    if not differing_values(before, after):
        return ""
    return (
        f"{name} gives other log-probabilities than when it was recorded: other "
        "weights answer under its name"
    )


def _values(text: str, count: int) -> list[dict[str, float]]:
    """Return the listed log-probabilities after each prompt, by token as it is named.

    Raises `MalformedAnswerError` where there are none.
    """
    choices: Any = parse_answer(text).get("choices")
    try:
        by_index = {
            choice["index"]: choice["logprobs"]["top_logprobs"][0] for choice in choices
        }
        return [
            {
                token: float(value)
                for token, value in by_index[index].items()
                if value > MINUS_INFINITY
            }
            for index in range(count)
        ]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise MalformedAnswerError("no log-probabilities") from None
