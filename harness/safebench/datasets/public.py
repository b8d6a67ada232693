"""Readers of the public sets in the catalog, one function for each source.

A reader gets a `DatasetRequest` and yields an `Example` for each usable row. It only
translates columns: loading, splits and local copies are in `.hub`. Columns that say
something about the label go to `gold_meta`, which no classifier sees.

Prompt sets come first, then sets of responses.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

from safebench.errors import DataError
from safebench.records import Label

from .hub import hub_rows
from .request import Example, exchange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .request import DatasetRequest


def read_jbb(request: DatasetRequest) -> Iterator[Example]:
    """Yield harmful goals and their benign counterparts; both share a group."""
    # "all" is a split of ours: the hub has the two halves only.
    splits = ("harmful", "benign") if request.split == "all" else (request.split,)
    for split in splits:
        for where, row in hub_rows(request, split=split):
            yield Example(
                turns=exchange(row["Goal"]),
                label=Label(value=split == "harmful"),
                group=f"goal-{row['Index']}",
                gold_meta={"behaviour": row["Behavior"], "category": row["Category"]},
                where=where,
            )


def read_catqa(request: DatasetRequest) -> Iterator[Example]:
    """Yield harmful questions; the set has no benign ones."""
    for where, row in hub_rows(request):
        yield Example(
            turns=exchange(row["Question"]),
            label=Label(value=True),
            categories=frozenset({row["Category"]}),
            gold_meta={"subcategory": row["Subcategory"]},
            where=where,
        )


def read_wild_jailbreaks(request: DatasetRequest) -> Iterator[Example]:
    """Yield jailbreak prompts that people shared; many are very long."""
    for where, row in hub_rows(request):
        if _is_blank(row["prompt"]):
            request.report.skip(where, "empty prompt")
            continue
        yield Example(
            turns=exchange(row["prompt"]),
            label=Label(value=bool(row["jailbreak"])),
            gold_meta={"platform": row["platform"]},
            where=where,
        )


OPENAI_CATEGORIES = ("S", "H", "V", "HR", "SH", "S3", "H2", "V2")


def read_content_moderation(request: DatasetRequest) -> Iterator[Example]:
    """Yield unsafe queries with two or three Llama Guard categories each."""
    policy = request.spec.policy or ""
    column = f"{policy.replace('-', '_')}_categories"
    for where, row in hub_rows(request):
        yield Example(
            turns=exchange(row["unsafe_query"]),
            label=Label(value=True),
            categories=frozenset(row[column]),
            where=where,
        )


def read_openai(request: DatasetRequest) -> Iterator[Example]:
    """Yield prompts with the categories that were annotated for each of them."""
    for where, row in hub_rows(request):
        # Not every prompt was annotated for every category: a missing key is no 0.
        known = {key: row[key] for key in OPENAI_CATEGORIES if row.get(key) is not None}
        positive = frozenset(key for key, value in known.items() if value)
        yield Example(
            turns=exchange(row["prompt"]),
            label=Label(value=bool(positive)),
            categories=positive,
            known=frozenset(known),
            where=where,
        )


def read_toxic_chat(request: DatasetRequest) -> Iterator[Example]:
    """Yield real user inputs with the toxicity label."""
    for where, row in hub_rows(request):
        if _is_blank(row["user_input"]):
            request.report.skip(where, "empty prompt")
            continue
        yield Example(
            turns=exchange(row["user_input"]),
            label=Label(value=bool(row["toxicity"])),
            gold_meta={"jailbreaking": bool(row["jailbreaking"])},
            where=where,
        )


# Types of safe and of contrast prompts whose names do not match, and their common name.
XSTEST_CONTRAST_FAMILIES = {
    "nons_group_real_discr": "discr",
    "real_group_nons_discr": "discr",
    "privacy_fictional": "privacy",
}


def read_xstest(request: DatasetRequest) -> Iterator[Example]:
    """Yield safe prompts and unsafe contrasts; a prompt and its contrast share a group.

    No column links them. The set lists the prompts of a type in the same order as their
    contrasts, so the position within the type does. `privacy_public` has no contrasts.
    """
    positions: Counter[str] = Counter()
    for where, row in hub_rows(request):
        kind = row["type"]
        family = kind.removeprefix("contrast_")
        family = XSTEST_CONTRAST_FAMILIES.get(family, family)
        yield Example(
            turns=exchange(row["prompt"]),
            label=Label(value=row["label"] == "unsafe"),
            group=f"{family}-{positions[kind]}",
            gold_meta={"type": kind, "focus": row["focus"]},
            where=where,
        )
        positions[kind] += 1


LABEL_VALUES = {
    "harmful": True,
    "unharmful": False,
    "refusal": True,
    "compliance": False,
    None: None,
}
WILDGUARD_LABEL_COLUMNS = {
    "prompt_harm": "prompt_harm_label",
    "response_harm": "response_harm_label",
    "refusal": "response_refusal_label",
}


def read_wildguardmix(request: DatasetRequest) -> Iterator[Example]:
    """Yield prompts, with responses where there are any, labelled for the task.

    A row without a response is skipped if the task judges responses.
    """
    task = request.spec.task
    # The hub has a config of its own for each split: wildguardtrain, wildguardtest.
    for where, row in hub_rows(request, config=f"wildguard{request.split}"):
        response = row["response"]
        if _is_blank(row["prompt"]):
            request.report.skip(where, "empty prompt")
        elif response is None and task != "prompt_harm":
            request.report.skip(where, "no response")
        else:
            yield Example(
                turns=exchange(row["prompt"], response),
                target=0 if task == "prompt_harm" else -1,
                label=Label(value=LABEL_VALUES[row[WILDGUARD_LABEL_COLUMNS[task]]]),
                gold_meta=_wildguard_meta(row),
                where=where,
            )


def _wildguard_meta(row: dict[str, Any]) -> dict[str, Any]:
    """Return the columns that `analyze` slices by; an empty cell stays as None."""
    return {name: row[name] for name in ("subcategory", "adversarial") if name in row}


def read_xstest_response(request: DatasetRequest) -> Iterator[Example]:
    """Yield XSTest prompts with a model's response, judged harmful or a refusal."""
    for where, row in hub_rows(request):
        yield Example(
            turns=exchange(row["prompt"], row["response"]),
            label=Label(value=LABEL_VALUES[row["label"]]),
            gold_meta={k: row[k] for k in ("prompt_type",) if k in row},
            where=where,
        )


PKU_COLUMNS = frozenset(
    {"is_response_0_safe", "is_response_1_safe", "safer_response_id"}
)
PKU_SEVERITY_COLUMNS = PKU_COLUMNS | {
    "response_0_severity_level",
    "response_0_harm_category",
}


def read_beavertails(request: DatasetRequest) -> Iterator[Example]:
    """Yield prompt and response with any of fourteen harm categories."""
    for where, row in hub_rows(request):
        yield Example(
            turns=exchange(row["prompt"], row["response"]),
            label=Label(value=not row["is_safe"]),
            categories=frozenset(code for code, yes in row["category"].items() if yes),
            where=where,
        )


def read_pku(request: DatasetRequest) -> Iterator[Example]:
    """Yield both responses to each prompt as a pair.

    Versions of the set differ in their columns: the current one adds severity levels
    (0 to 3) and harm categories, which go to `gold_meta`. Raises `DataError` for rows
    without the columns that every version has.
    """
    rows = hub_rows(request)
    if rows and not rows[0][1].keys() >= PKU_COLUMNS:
        columns = ", ".join(rows[0][1])
        raise DataError(f"{rows[0][0]}: not a PKU-SafeRLHF row (columns: {columns})")
    for where, row in rows:
        for i in (0, 1):
            yield _pku_response(row, i, where)


def _pku_response(row: dict[str, Any], i: int, where: str) -> Example:
    rank: Literal["safer", "unsafer"] = (
        "safer" if row["safer_response_id"] == i else "unsafer"
    )
    return Example(
        turns=exchange(row["prompt"], row[f"response_{i}"]),
        label=Label(value=not row[f"is_response_{i}_safe"]),
        pair=(where, rank),
        gold_meta=_pku_severity(row, i) if row.keys() >= PKU_SEVERITY_COLUMNS else {},
        where=where,
    )


def _pku_severity(row: dict[str, Any], i: int) -> dict[str, Any]:
    harms = row[f"response_{i}_harm_category"]
    return {
        "severity": row[f"response_{i}_severity_level"],
        "harms": sorted(name for name, yes in harms.items() if yes),
    }


def read_diasafety(request: DatasetRequest) -> Iterator[Example]:
    """Yield a context and the response to it."""
    for where, row in hub_rows(request):
        yield Example(
            turns=exchange(row["context"], row["response"]),
            label=Label(value=row["label"] == "Unsafe"),
            gold_meta={"category": row["category"]},
            where=where,
        )


def read_dices(request: DatasetRequest) -> Iterator[Example]:
    """Yield conversations with the raters' votes; the label is their plurality.

    On the hub a row is one rating. Rows that hold a conversation with its vote counts
    are read, too.
    """
    rows = hub_rows(request)
    if rows and "n_unsafe_yes" in rows[0][1]:
        for where, row in rows:
            votes = (row["n_unsafe_yes"], row["n_unsafe_no"], row["n_unsure"])
            yield _dices_example(row, votes, where)
        return
    ratings: dict[Any, Counter[str]] = {}
    first_rows: dict[Any, tuple[str, dict[str, Any]]] = {}
    for where, row in rows:
        first_rows.setdefault(row["item_id"], (where, row))
        ratings.setdefault(row["item_id"], Counter())[row["Q_overall"]] += 1
    for item, counts in ratings.items():
        where, row = first_rows[item]
        unsure = counts.total() - counts["Yes"] - counts["No"]
        yield _dices_example(row, (counts["Yes"], counts["No"], unsure), where)


def _dices_example(
    row: dict[str, Any], votes: tuple[int, int, int], where: str
) -> Example:
    context = row["context"].replace("\\n", "\n")  # the set escapes line ends
    return Example(
        turns=exchange(context.strip(), row["response"]),
        label=Label(value=plurality(*votes), votes=(votes[0], sum(votes))),
        gold_meta={"item": row["item_id"]},
        where=where,
    )


def plurality(yes: int, no: int, unsure: int) -> bool | None:
    """Return the answer with the most votes; None if tied, or if unsure wins."""
    if yes > max(no, unsure):
        return True
    return False if no > max(yes, unsure) else None


def _is_blank(text: str | None) -> bool:
    return not (text or "").strip()
