"""What a plugin says of an artifact: for its model card, and for sharing it.

The core knows what every manifest holds (data, versions, metrics); which files serve
for loading, and what they are good for, the plugin knows that wrote them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from safebench.isolation import isolated
from safebench.specs import ArtifactSpec, DatasetSpec, TrainerSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from safebench.plugins import Plugins


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactDescription:
    """An artifact as its plugin describes it.

    `summary` says in sentences what it is; `commands` use it, with ``{model}`` for its
    name. `share` are the files that loading needs and `keep` those that stay where they
    are (optimizer states, texts, scores of rows): patterns of paths below the folder,
    ``*`` within a name and ``**`` for all below. Any other file is unknown and stops a
    push. `words_of_texts` are the shared ones that hold words of the training texts.

    `manifest` holds the values of keys that differ where it is shared: a base's folder
    is nobody else's. `bases` are the models that it was learnt on, as
    `ModelFolder.base_record` gives them; with `needs_base` nothing can be loaded
    without the first of them. `recipe`, `calibration`, `gate` and `limits` are lines of
    the card. `rejected` says why it should not be used ("" if it may). `sources` (name,
    id, split, revision, rows) and `splits` (lines) describe the data where the manifest
    has no ``dataset``, `metrics` (by split, model and metric) what was measured where
    it has no ``metrics``; `headline` names the models whose metrics on test stand for
    the artifact.
    """

    summary: str
    commands: tuple[str, ...]
    share: tuple[str, ...]
    keep: tuple[str, ...] = ()
    words_of_texts: tuple[str, ...] = ()
    bases: tuple[Mapping[str, Any], ...] = ()
    needs_base: bool = False
    library: str = "safebench"
    pipeline_tag: str = "text-classification"
    tags: tuple[str, ...] = ()
    recipe: tuple[str, ...] = ()
    calibration: tuple[str, ...] = ()
    gate: tuple[str, ...] = ()
    rejected: str = ""
    limits: tuple[str, ...] = ()
    sources: Sequence[Mapping[str, Any]] = ()
    splits: tuple[str, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    headline: tuple[str, ...] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DescribedArtifact:
    """A finished artifact: folder, manifest, and what its plugin says of it.

    `sources` is where its data came from, one entry a set and split.
    """

    folder: Path
    manifest: dict[str, Any]
    description: ArtifactDescription
    sources: Sequence[Mapping[str, Any]]

    @property
    def metrics(self) -> Mapping[str, Any]:
        """What was measured: ``{split: {model: {metric: {"value": ...}}}}``."""
        return self.description.metrics or self.manifest.get("metrics") or {}


def describe_artifact(
    folder: Path, manifest: dict[str, Any], plugins: Plugins
) -> DescribedArtifact:
    """Return an artifact with what the plugin that trained it says of it.

    A trainer of which no plugin says anything gets a description without files to
    share. Raises `UnknownNameError` for one that is not installed.
    """
    trainer = str(manifest.get("trainer") or manifest.get("kind"))
    if _says_nothing(trainer, plugins):
        description = _plain_description(trainer, manifest)
    else:
        description = _described(folder, manifest, plugins.get(ArtifactSpec, trainer))
    return DescribedArtifact(
        folder, manifest, description, _sources(manifest, description, plugins)
    )


def _says_nothing(trainer: str, plugins: Plugins) -> bool:
    """Tell whether a trainer is installed whose plugin has no `ArtifactSpec` for it."""
    named = {spec.name for spec in plugins.all(ArtifactSpec)}
    return trainer in {s.name for s in plugins.all(TrainerSpec)} - named


def _plain_description(
    trainer: str, manifest: Mapping[str, Any]
) -> ArtifactDescription:
    return ArtifactDescription(
        summary=f"A classifier that safebench train {trainer} trained.",
        commands=(f"safebench run -c {manifest.get('kind')} --model {{model}}",),
        share=(),
        headline=(str(manifest.get("kind")),),
    )


def _described(
    folder: Path, manifest: Mapping[str, Any], spec: ArtifactSpec
) -> ArtifactDescription:
    describe = spec.code()
    with isolated(spec):
        description = describe(folder, manifest)
        if not isinstance(description, ArtifactDescription):
            returned = type(description).__name__
            raise TypeError(f"returned a {returned}, not an ArtifactDescription")
    return description


def _sources(
    manifest: Mapping[str, Any], description: ArtifactDescription, plugins: Plugins
) -> list[Mapping[str, Any]]:
    """Return the sources of the data, those of the catalogue by their hub ids."""
    data = manifest.get("dataset")
    stored = data.get("sources") if isinstance(data, dict) else None
    hub_ids = {spec.name: spec.hub_id for spec in plugins.all(DatasetSpec)}
    return [
        {**source, "id": source.get("id") or hub_ids.get(str(source.get("name")))}
        for source in description.sources or stored or ()
    ]


def with_base_name(artifact: DescribedArtifact, name: str) -> DescribedArtifact:
    """Return an artifact whose first base has another name, where it has one."""
    first, *others = artifact.description.bases or ({},)
    known = str(first.get("name") or "")
    commands = artifact.description.commands
    if known:  # they name it, as a word
        commands = tuple(
            " ".join(name if word == known else word for word in command.split(" "))
            for command in commands
        )
    bases = ({**first, "name": name}, *others)
    changed = replace(artifact.description, bases=bases, commands=commands)
    return replace(artifact, description=changed)
