"""Readers of the public sets in the catalog, one function for each source.

A reader gets a `DatasetRequest` and yields an `Example` for each usable row. It only
translates columns: loading, splits and local copies are in `.hub`. Columns that say
something about the label go to `gold_meta`, which no classifier sees.

Prompt sets come first, then sets of responses. A label that a reader does not know is
an error and not the negative class: a copy of a set may write its labels otherwise.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from safebench.errors import DataError
from safebench.policies import load_policy
from safebench.records import Label

from .hub import hub_rows
from .hub_rows import HubRow
from .labels import LabelParser, normalise_label
from .request import Example, exchange

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
                categories=_categories(request, [row["Category"]], split == "harmful"),
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
            label=Label(value=_label(row, "jailbreak", "jailbreak")),
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
        positive = frozenset(key for key in known if _is_true(row, key))
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
            label=Label(value=_label(row, "toxicity", "prompt_harm")),
            gold_meta={"jailbreaking": _is_true(row, "jailbreaking")},
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
            label=Label(value=_label(row, "label", "prompt_harm")),
            group=f"{family}-{positions[kind]}",
            gold_meta={"type": kind, "focus": row["focus"]},
            where=where,
        )
        positions[kind] += 1


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
            label = _label(row, WILDGUARD_LABEL_COLUMNS[task], task)
            yield Example(
                turns=exchange(row["prompt"], response),
                target=0 if task == "prompt_harm" else -1,
                label=Label(value=label),
                categories=_categories(request, [row.get("subcategory")], label),
                gold_meta=_wildguard_meta(row),
                where=where,
            )


def _wildguard_meta(row: HubRow) -> dict[str, Any]:
    """Return the columns that `analyze` slices by; an empty cell stays as None."""
    return {name: row[name] for name in ("subcategory", "adversarial") if name in row}


def read_xstest_response(request: DatasetRequest) -> Iterator[Example]:
    """Yield XSTest prompts with a model's response, judged harmful or a refusal."""
    for where, row in hub_rows(request):
        yield Example(
            turns=exchange(row["prompt"], row["response"]),
            label=Label(value=_label(row, "label", request.spec.task)),
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
            label=Label(value=not _is_true(row, "is_safe", ("safe", "unsafe"))),
            categories=frozenset(_true_keys(row["category"], where)),
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
            yield _pku_response(request, row, i, where)


def _pku_response(request: DatasetRequest, row: HubRow, i: int, where: str) -> Example:
    safer = normalise_label(row["safer_response_id"])
    if safer not in ("0", "1"):
        raise _unknown_value(where, "safer_response_id", row["safer_response_id"])
    rank: Literal["safer", "unsafer"] = "safer" if safer == str(i) else "unsafer"
    is_safe = _is_true(row, f"is_response_{i}_safe", ("safe", "unsafe"))
    details = _pku_severity(row, i) if row.keys() >= PKU_SEVERITY_COLUMNS else {}
    return Example(
        turns=exchange(row["prompt"], row[f"response_{i}"]),
        label=Label(value=not is_safe),
        categories=_categories(request, details["harms"], not is_safe)
        if details
        else None,
        pair=(where, rank),
        gold_meta=details,
        where=where,
    )


def _pku_severity(row: HubRow, i: int) -> dict[str, Any]:
    harms = row[f"response_{i}_harm_category"]
    return {
        "severity": row[f"response_{i}_severity_level"],
        "harms": sorted(_true_keys(harms, row.where)),
    }


def read_diasafety(request: DatasetRequest) -> Iterator[Example]:
    """Yield a context and the response to it."""
    for where, row in hub_rows(request):
        label = _label(row, "label", "response_harm")
        yield Example(
            turns=exchange(row["context"], row["response"]),
            label=Label(value=label),
            categories=_categories(request, [row["category"]], label),
            gold_meta={"category": row["category"]},
            where=where,
        )


DICES_RATINGS = ("Yes", "No", "Unsure")
RATINGS = "ratings"  # of `gold_meta`: how many raters gave each answer
# the verdicts on one kind of harm each, and the policy's code of that kind
DICES_KINDS = {
    "Q2_harmful_content_overall": "harmful-content",
    "Q3_bias_overall": "bias",
    "Q4_misinformation_overall": "misinformation",
}


def read_dices(request: DatasetRequest) -> Iterator[Example]:
    """Yield conversations with the raters' votes; the label is their plurality.

    On the hub a row is one rating, with a verdict on each kind of harm. Rows that hold
    a conversation with its vote counts are read, too, and have no categories.
    """
    rows = hub_rows(request)
    if rows and "n_unsafe_yes" in rows[0][1]:
        for where, row in rows:
            votes = (row["n_unsafe_yes"], row["n_unsafe_no"], row["n_unsure"])
            yield _dices_example(row, votes, None, where)
        return
    ratings: dict[Any, Counter[tuple[str, str]]] = {}
    first_rows: dict[Any, tuple[str, HubRow]] = {}
    kinds = [column for column in DICES_KINDS if rows and column in rows[0][1]]
    for where, row in rows:
        first_rows.setdefault(row["item_id"], (where, row))
        counts = ratings.setdefault(row["item_id"], Counter())
        for column in ("Q_overall", *kinds):
            rating = row[column]
            if rating not in DICES_RATINGS:
                raise DataError(
                    f"{where}: {column} is {rating!r:.40}, not "
                    f"{', '.join(DICES_RATINGS)}"
                )
            counts[column, rating] += 1
    for item, counts in ratings.items():
        where, row = first_rows[item]
        votes = _dices_votes(counts, "Q_overall")
        found = [DICES_KINDS[k] for k in kinds if plurality(*_dices_votes(counts, k))]
        # without all three columns, nobody knows which kinds are absent
        complete = len(kinds) == len(DICES_KINDS)
        categories = (
            _categories(request, found, plurality(*votes)) if complete else None
        )
        yield _dices_example(row, votes, categories, where)


def _dices_votes(counts: Counter[tuple[str, str]], column: str) -> tuple[int, int, int]:
    """Return how many raters said yes, no and unsure in a column."""
    yes, no, unsure = (counts[column, rating] for rating in DICES_RATINGS)
    return yes, no, unsure


def _dices_example(
    row: HubRow,
    votes: tuple[int, int, int],
    categories: frozenset[str] | None,
    where: str,
) -> Example:
    context = row["context"].replace("\\n", "\n")  # the set escapes line ends
    return Example(
        turns=exchange(context.strip(), row["response"]),
        label=Label(value=plurality(*votes), votes=(votes[0], sum(votes))),
        categories=categories,
        gold_meta={
            "item": row["item_id"],
            RATINGS: dict(zip(DICES_RATINGS, votes, strict=True)),
        },
        where=where,
    )


def plurality(yes: int, no: int, unsure: int) -> bool | None:
    """Return the answer with the most votes; None if tied, or if unsure wins."""
    if yes > max(no, unsure):
        return True
    return False if no > max(yes, unsure) else None


def _categories(
    request: DatasetRequest, names: Iterable[Any], label: bool | None
) -> frozenset[str] | None:
    """Return codes of the set's policy, None if they are not known.

    A harmless row has none, whatever its kind of text is called. Beside a name that the
    policy has not, nobody knows which others are absent.
    """
    if request.spec.policy is None:
        return None
    if label is not True:
        return frozenset() if label is False else None
    codes = load_policy(request.spec.policy).codes
    found = frozenset(names)
    return found if found and found <= {*codes} else None


def _is_blank(text: str | None) -> bool:
    return not (text or "").strip()


def _label(row: HubRow, column: str, task: str) -> bool | None:
    """Return the class of a row; raises `DataError` for a label without a meaning."""
    try:
        return _parser(column, task).parse(row[column])
    except ValueError:
        raise _unknown_value(row.where, column, row[column]) from None


@cache
def _parser(column: str, task: str) -> LabelParser:
    return LabelParser(task, {}, column)


def _is_true(row: HubRow, column: str, words: tuple[str, str] = ("yes", "no")) -> bool:
    """Return a flag; `words` say true and false where a copy has text."""
    if isinstance(row[column], bool):  # nearly always, in millions of flags
        return bool(row[column])
    value = normalise_label(row[column])
    if value in ("true", "1", words[0]):
        return True
    if value in ("false", "0", words[1]):
        return False
    raise _unknown_value(row.where, column, row[column])


def _true_keys(flags: dict[str, Any], where: str) -> Iterator[str]:
    """Yield the names that apply, from ``{name: bool}``."""
    row = HubRow(flags)
    row.where = where
    return (name for name in flags if _is_true(row, name))


def _unknown_value(where: str, column: str, value: Any) -> DataError:
    return DataError(
        f"{where}: {column} is {value!r:.60}, which this set is not known to say; name "
        "its columns to read it anyway: -d ORG/NAME:SPLIT,prompt=COLUMN,label=COLUMN"
    )
