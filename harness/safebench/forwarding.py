"""Names of version 0.1 that plugins use: where each went, without a warning.

A plugin that was written by the guide of version 0.1 imports modules that have moved,
names that changed, and declares specs by fields that are called otherwise now. All of
that is answered here and nowhere else; `install` is called once, when safebench is
imported, and costs nothing until an old name is asked for.
"""

from __future__ import annotations

import sys
from functools import wraps
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

ClassT = TypeVar("ClassT", bound=type)

# modules that moved: their old names, and where they are
MODULES = {
    "safebench.judgements": "safebench.strategies",
    "safebench.datasets.example": "safebench.datasets",
    "safebench.training.process": "safebench.training",
    "safebench.training.progress": "safebench.progress",
    "safebench.neural": "safebench.torch_utils",
    "safebench.neural.checkpoints": "safebench.torch_utils.hf_trainer",
    "safebench.neural.device": "safebench.torch_utils.device",
    "safebench.neural.loading": "safebench.torch_utils.loading",
    "safebench.neural.minilm": "safebench.torch_utils.minilm",
}
# names that changed, by the module that holds them today
NAMES = {
    "safebench.datasets": {"Request": "DatasetRequest"},
    "safebench.metrics": {"Value": "MetricValue"},
    "safebench.records": {"Gold": "GroundTruth"},
    "safebench.progress": {"Bar": "ProgressBar"},
    "safebench.torch_utils.loading": {
        "one_line": "model_load_errors",
        "quiet": "quiet_transformers",
    },
    "safebench.torch_utils.minilm": {
        "folder": "installed_folder",
        "check": "verify_weights",
        "SHA256": "WEIGHTS_SHA256",
    },
}
# functions that became methods of what their first argument makes, by their module
METHODS = {
    "safebench.training.artifact": {
        "read_artifact": ("Artifact", "finished"),
        "weights_hash": ("Artifact", "weights_hash"),
    },
}
# fields and methods that changed, by the class that has them
MEMBERS = {
    "ClassifierSpec": {"asks": "evidence_scope"},
    "StrategySpec": {
        "decision_from": "decision_fallback",
        "record_as": "recorder_option_names",
        "variants": "replacements",
        "tune": "oracle_tuner",
    },
    "Classifier": {"pieces": "token_bytes"},
    "Dataset": {"golds": "ground_truth"},
    "DatasetRequest": {"ledger": "report"},
    "Evidence": {"take": "select", "lead": "leading_dim", "once": "cached"},
    "Trained": {"short": "incomplete"},
}


def old_names(module: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module that answers to its old names."""

    def get(name: str) -> Any:
        if name in METHODS.get(module, {}):
            owner, method = METHODS[module][name]
            return _as_function(getattr(sys.modules[module], owner), method)
        new = NAMES.get(module, {}).get(name)
        if new is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return getattr(sys.modules[module], new)

    return get


def _as_function(owner: type[Any], method: str) -> Callable[..., Any]:
    """Return a method as the function of version 0.1 that it was."""

    def call(subject: Any, *args: Any, **options: Any) -> Any:
        return getattr(owner(subject), method)(*args, **options)

    return call


def old_fields(cls: ClassT) -> ClassT:
    """Let a dataclass be built and read by the old names of its fields."""
    names = MEMBERS[cls.__name__]
    make: Callable[..., None] = cls.__init__  # type: ignore[misc]

    @wraps(make)
    def init(self: Any, **fields: Any) -> None:
        for old in names.keys() & fields.keys():
            new = names[old]
            if new in fields:  # as dataclasses.replace(spec, asks=...) would say
                raise TypeError(f"{cls.__name__}: {old} is {new} today, say one")
            fields[new] = fields.pop(old)
        make(self, **fields)

    cls.__init__ = init  # type: ignore[misc]
    return old_members(cls)


def old_members(cls: ClassT) -> ClassT:
    """Let the attributes and methods of a class be reached by their old names."""
    for old, new in MEMBERS[cls.__name__].items():
        setattr(cls, old, _Alias(new))
    return cls


def former_field_name(cls: type, field: str) -> str:
    """Return what a field of a spec was called in 0.1, as JSON listings still say."""
    names = MEMBERS.get(cls.__name__, {})
    return next((old for old, new in names.items() if new == field), field)


class _Alias:
    """Another name of an attribute, for instances and for the class itself."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        return getattr(owner if instance is None else instance, self.name)


def old_overrides(cls: type, base: str) -> None:
    """Let a subclass override methods of the class `base` by their old names."""
    for old, new in MEMBERS[base].items():
        if old in vars(cls) and new not in vars(cls):
            setattr(cls, new, vars(cls)[old])


class _OldModules(MetaPathFinder, Loader):
    """Finds modules under their old names; what they hold comes from the new ones."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - of the protocol
        target: ModuleType | None = None,  # noqa: ARG002 - of the protocol
    ) -> ModuleSpec | None:
        """Return a spec for a name that moved, and for no other."""
        if fullname not in MODULES:
            return None
        # a package, so that modules below it can be asked for by their old names too
        return ModuleSpec(fullname, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        """Let the module answer with what the new one has under either name."""
        moved = MODULES[module.__name__]

        def get(name: str) -> Any:
            if name.startswith("__"):  # the import system asks for its own
                raise AttributeError(name)
            new = NAMES.get(moved, {}).get(name, name)
            return getattr(import_module(moved), new)

        module.__getattr__ = get  # type: ignore[method-assign]


def install() -> None:
    """Let old module names be imported; a second call does nothing."""
    if not any(isinstance(finder, _OldModules) for finder in sys.meta_path):
        sys.meta_path.append(_OldModules())
