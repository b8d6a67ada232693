"""Model cards: what an artifact is, learnt from, measures and must not be taken for.

Everything comes from the manifest, the catalogue of data sets and the plugin; what is
not known is said to be unknown. The front matter has the keys that the hub reads.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from safebench.specs import DatasetSpec

from .card_regions import KEYS, own_keys, own_text, region, sign
from .description import with_base_name
from .licences import (
    UNKNOWN,
    licences_of_bases,
    licences_of_data,
    model_licence,
    strictest,
)
from .local_paths import without_paths
from .report import format_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from safebench.plugins import Plugins

    from .description import DescribedArtifact
    from .licences import Licensed

CARD_FILE = "README.md"
# Of the metrics of an artifact, those that the hub shows beside its name.
_HEADLINES = (
    *("f1", "accuracy", "precision", "recall", "fpr", "auroc", "auprc", "brier"),
    *("ece", "nll", "sign_accuracy", "ranking_accuracy"),
)
_HUB_ID = "/"  # a name with it is one of the hub, and one without it a file's


def write_card(
    artifact: DescribedArtifact, plugins: Plugins, name: str, *, overwrite: bool
) -> Path:
    """Write the model card of an artifact under a name, and return its path.

    Raises `DataError` for a card that would lose what its user wrote, unless
    `overwrite`.
    """
    path = artifact.folder / CARD_FILE
    own = {} if overwrite else own_text(path)
    text = render_card(artifact, plugins, name, own)
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def render_card(
    artifact: DescribedArtifact,
    plugins: Plugins,
    name: str,
    own: Mapping[str, str],
    *,
    base: str = "",
) -> str:
    """Return a card; `own` is what its user wrote, by the places where it stands.

    `base` is what the first base is called on the hub, where that is known by now.
    """
    artifact = with_base_name(artifact, base) if base else artifact
    data = licences_of_data(artifact.sources, plugins)
    bases = licences_of_bases(artifact.description.bases)
    parts = [
        _front_matter(artifact, name, model_licence([*data, *bases]), own),
        "<!-- safebench card DIGEST -->",
        f"# {_one_line(name)}",
        _one_line(artifact.description.summary),
        *_rejection(artifact),
        region("introduction", own.get("introduction", "")),
        *_section("Use", _usage(artifact, name)),
        *_section("Data", _data(artifact)),
        *_section("Training", _training(artifact)),
        *_section("Measured", _measured(artifact)),
        *_section("Gate", _bullets(artifact.description.gate)),
        *_section("Calibration", _bullets(artifact.description.calibration)),
        *_section("Limits", _bullets(_limits(artifact, plugins))),
        *_section("Licences", _licences(data, bases)),
        region("notes", own.get("notes", "")),
    ]
    return sign("\n\n".join(filter(None, parts)) + "\n")


def _section(title: str, content: str) -> list[str]:
    return [f"## {title}", content] if content else []


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_one_line(line)}" for line in lines)


def _one_line(text: str) -> str:
    """Return text as one line that no Markdown of its own breaks."""
    shortened = str(without_paths(text))
    return " ".join(shortened.replace("<", "&lt;").replace("|", r"\|").split())


def _front_matter(
    artifact: DescribedArtifact, name: str, licence: str, own: Mapping[str, str]
) -> str:
    import yaml

    description = artifact.description
    hub_bases = [b["name"] for b in description.bases if _HUB_ID in str(b.get("name"))]
    hub_sets = [s.get("id") for s in artifact.sources if _HUB_ID in str(s.get("id"))]
    keys: dict[str, Any] = {
        "license": licence,
        "library_name": description.library,
        "pipeline_tag": description.pipeline_tag,
        "base_model": hub_bases,
        "datasets": list(dict.fromkeys(hub_sets)),
        "tags": ["safety", "guard", "safebench", *description.tags],
        "model-index": _model_index(artifact, name),
    }
    mine = own_keys(own)
    kept = {k: v for k, v in keys.items() if v and k not in mine}  # keys stand once
    text = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
    return f"---\n{text}{region(KEYS, own.get(KEYS, ''))}\n---"


def _model_index(artifact: DescribedArtifact, name: str) -> list[dict[str, Any]]:
    """Return the metrics on test in the hub's form; empty without any."""
    tests = [s for s in artifact.sources if s.get("part") == "test"]
    tested = tests or artifact.sources
    where = {
        "name": ", ".join(str(s.get("name")) for s in tested) or "held out",
        "type": "/".join(str(s.get("id")) for s in tested[:1]) or "custom",
        "split": "test" if tests else "held out of train",
    }
    results = []
    for model in artifact.description.headline:
        measured = artifact.metrics.get("test", {}).get(model, {})
        metrics = [
            {"type": metric, "value": entry["value"], "name": _named(metric, entry)}
            for metric, entry in measured.items()
            if metric in _HEADLINES and entry.get("value") is not None
        ]
        if metrics:
            task = {"type": artifact.description.pipeline_tag, "name": model}
            # A copy: YAML would refer to one that stands there twice by a name.
            results.append({"task": task, "dataset": dict(where), "metrics": metrics})
    return [{"name": name.rpartition("/")[2], "results": results}] if results else []


def _named(metric: str, entry: Mapping[str, Any]) -> str:
    """Return a metric with what its number rests on."""
    low, high, n = entry.get("low"), entry.get("high"), entry.get("n")
    interval = f" [{format_value(low)}, {format_value(high)}]" if high else ""
    return f"{metric}{interval}{f' on {n}' if n else ''}"


def _rejection(artifact: DescribedArtifact) -> list[str]:
    reason = artifact.description.rejected
    return [f"**Not for use: {_one_line(reason)}.**"] if reason else []


def _usage(artifact: DescribedArtifact, name: str) -> str:
    if not artifact.description.commands:
        return ""
    quoted = shlex.quote(name)
    commands = [c.replace("{model}", quoted) for c in artifact.description.commands]
    return "```console\n" + "\n".join(f"$ {c}" for c in commands) + "\n```"


def _data(artifact: DescribedArtifact) -> str:
    rows = [
        (
            str(source.get("name") or source.get("id")),
            str(source.get("id") or "a file"),
            str(source.get("split") or "all"),
            str(source.get("part") or "train"),
            str(source.get("rows") or "unknown"),
            str(source.get("revision") or "unknown"),
        )
        for source in artifact.sources
    ]
    header = ("set", "source", "its split", "used for", "rows read", "revision")
    table = _table(header, rows) if rows else "The training data is unknown."
    return "\n\n".join(filter(None, (table, _bullets(_split_lines(artifact)))))


def _split_lines(artifact: DescribedArtifact) -> Iterator[str]:
    yield from artifact.description.splits
    data = artifact.manifest.get("dataset")
    parts = data.get("parts") if isinstance(data, dict) else None
    for part, counts in (parts or {}).items():
        known = [f"{n} {what}" for what, n in counts.items() if isinstance(n, int)]
        yield f"{part}: {', '.join(known)} (hash {str(counts.get('data_hash'))[:12]})"


def _training(artifact: DescribedArtifact) -> str:
    manifest = artifact.manifest
    versions = ", ".join(
        f"{k} {v}" for k, v in (manifest.get("versions") or {}).items()
    )
    lines = [
        *(_base_line(base) for base in artifact.description.bases),
        *artifact.description.recipe,
        f"with {versions or 'unknown versions'}",
    ]
    commands = [
        f"$ {shlex.join(without_paths(words))}"
        for words in manifest.get("commands") or ()
    ]
    shown = "```console\n" + "\n".join(commands) + "\n```" if commands else ""
    return "\n\n".join(filter(None, (_bullets(lines), shown)))


def _base_line(base: Mapping[str, Any]) -> str:
    hashes = base.get("hashes") or {}
    digest = (
        f"weights sha256 {hashes['weights']}"
        if hashes.get("weights")
        else ("its hash is unknown")
    )
    revision = f" at {base['revision']}" if base.get("revision") else ""
    return f"base: {base.get('name') or 'unknown'}{revision}, {digest}"


def _measured(artifact: DescribedArtifact) -> str:
    """Return the table of metrics, on test where there are some.

    What was measured on validation has served to choose.
    """
    metrics = artifact.metrics
    shown = {"test": metrics["test"]} if metrics.get("test") else metrics
    notes: dict[str, int] = {}
    rows = []
    for split, models in shown.items():
        for model, measured in models.items():
            for metric, entry in measured.items():
                how = str(entry.get("method") or "")
                if note := entry.get("note"):
                    how += f" ({notes.setdefault(note, len(notes) + 1)})"
                value, n = format_value(entry.get("value")), str(entry.get("n") or "")
                rows.append(
                    (split, model, metric, value, _interval(entry), n, how.strip())
                )
    if not rows:
        return "Nothing was measured: its quality is unknown."
    header = ("part", "model", "metric", "value", "95 % interval", "n", "how")
    footnotes = [f"({number}) {note}" for note, number in notes.items()]
    return "\n\n".join(filter(None, (_table(header, rows), _bullets(footnotes))))


def _interval(entry: Mapping[str, Any]) -> str:
    low, high = entry.get("low"), entry.get("high")
    if low is None or high is None:
        return ""
    return f"[{format_value(low)}, {format_value(high)}]"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_one_line, line))} |" for line in lines)


def _limits(artifact: DescribedArtifact, plugins: Plugins) -> Iterator[str]:
    yield from artifact.description.limits
    learnt = dict.fromkeys(
        str(s.get("name")).partition(":")[0] for s in artifact.sources
    )
    if learnt:
        yield (
            f"learnt from or chosen on {', '.join(learnt)}: results on these sets, "
            "even on other splits of them, say nothing about other data"
        )
    families = [str(base.get("name") or "") for base in artifact.description.bases]
    seen = [
        spec.name
        for spec in plugins.all(DatasetSpec)
        if spec.name not in learnt and _is_of(families, spec.contaminates)
    ]
    if seen:
        yield f"its base was trained on {', '.join(sorted(seen))}"
    yield (
        "languages: those of the training texts, which the catalogue does not record; "
        "for any other it is untested"
    )
    yield (
        "no measure of harm: it repeats the labels that it learnt from, with their "
        "errors, and attacks that these do not hold may pass"
    )


def _is_of(names: Iterable[str], families: Iterable[str]) -> bool:
    folded = ["".join(filter(str.isalnum, name.casefold())) for name in names]
    wanted = ["".join(filter(str.isalnum, name.casefold())) for name in families]
    return any(family in name for family in wanted for name in folded if name)


def _licences(data: Sequence[Licensed], bases: Sequence[Licensed]) -> str:
    lines = [f"{found.name} (data): {found.stated}" for found in data]
    lines += [f"{found.name} (base): {found.stated}" for found in bases]
    lines += [f"{found.name}: {found.asks}" for found in (*data, *bases) if found.asks]
    found = strictest([*data, *bases])
    if found:
        ban = f", which forbids {found.forbids}" if found.forbids else ""
        lines.append(f"the strictest that is known is {found.id} ({found.name}){ban}")
    if any(licence.id == UNKNOWN for licence in (*data, *bases)):
        lines.append("where a licence is unknown, ask before you pass this on")
    lines.append(
        "whether a licence of data binds a model that learnt from them is not settled"
    )
    return _bullets(lines)
