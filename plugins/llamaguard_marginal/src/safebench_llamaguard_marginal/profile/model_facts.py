"""What is known of a model before it is loaded: names, class, chat template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError

if TYPE_CHECKING:
    from safebench.torch_utils import ModelFolder

_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model's names (the hub id, its folder's), classes and chat template."""

    label: str
    names: tuple[str, ...]
    classes: tuple[str, ...]
    template: str


def read_model_facts(base: ModelFolder, adapter: ModelFolder | None) -> ModelFacts:
    """Read them from the files of a model; an adapter's template counts first."""
    config = base.read_json("config.json")
    names = [base.label, config.get("_name_or_path"), base.folder.name]
    if adapter:
        names.append(adapter.label)
    template = (stored_template(adapter) if adapter else "") or stored_template(base)
    return ModelFacts(
        label=base.label,
        names=tuple(dict.fromkeys(str(name) for name in names if name)),
        classes=tuple(map(str, config.get("architectures") or ())),
        template=template,
    )


def stored_template(source: ModelFolder) -> str:
    """Return the chat template in a folder, "" without one."""
    for name in _TEMPLATE_FILES:
        path = source.folder / name
        if not path.is_file():
            continue
        if path.suffix == ".jinja":
            try:
                return path.read_text(encoding="utf-8")
            except (OSError, UnicodeError) as error:
                reason = " ".join(str(error).split())
                raise ModelError(f"model {source.label!r}: {path}: {reason}") from None
        template: Any = source.read_json(path.name).get("chat_template")
        if isinstance(template, list):  # several, each with a name
            template = next(
                (
                    entry.get("template")
                    for entry in template
                    if isinstance(entry, dict) and entry.get("name") == "default"
                ),
                None,
            )
        if isinstance(template, str):
            return template
    return ""
