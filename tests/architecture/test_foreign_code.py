"""No code that lies in a model's folder is run: one module loads what others wrote."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "harness" / "safebench"
LOADERS = {
    CORE / "torch_utils" / "loading.py",
    CORE / "torch_utils" / "stored_arrays.py",
    # reads the shards that it wrote, by its own keys
    CORE / "evidence" / "shard_file.py",
    # reads the columns that it wrote, never pickles
    CORE / "datasets" / "column_file.py",
    # between a run and the worker processes that it started itself
    CORE / "executors" / "frames.py",
}
SOURCES = sorted(
    path
    for folder in (CORE, *(ROOT / "plugins").glob("*/src"), ROOT / "benchmarks")
    for path in folder.rglob("*.py")
    if path not in LOADERS
)
# Whatever the object is called that has them: `load = AutoModel.from_pretrained` too.
METHODS = {
    "from_pretrained",
    "from_config",
    "load_adapter",
    "load_file",
    "safe_open",
    "read_pickle",
    "get_class_from_dynamic_module",
    "unsafe_load",
    "full_load",
}
MODULES = {
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "skops",
    "marshal",
    "shelve",
}
CALLS = {"torch.load", "np.load", "numpy.load", "torch.hub.load", "yaml.load"}
LAST_OF_CALLS = {name.rpartition(".")[2] for name in CALLS}
BUILTINS = {"eval", "exec", "input"}
SAFE_FLAGS = {
    "trust_remote_code": "False",
    "allow_pickle": "False",
    "weights_only": "True",
}


def loads_in(source: str) -> list[tuple[int, str]]:
    """Return line and name of everything in a source that could load foreign code."""
    return [
        (node.lineno, name)
        for node in ast.walk(ast.parse(source))
        for name in loads_of(node)
    ]


def loads_of(node: ast.AST) -> list[str]:
    """Return the names in one node that could load foreign code."""
    match node:
        case ast.Attribute(attr=attribute) if attribute in METHODS | LAST_OF_CALLS:
            name = ast.unparse(node)
            return [name] if attribute in METHODS or name in CALLS else []
        case ast.Import(names=names):
            return [a.name for a in names if a.name.split(".")[0] in MODULES]
        case ast.ImportFrom():
            return loads_imported(node)
        case ast.Call(func=ast.Name(id=name)):
            return [name] if name in BUILTINS else []
        case ast.Constant(value=str(value)):  # of getattr
            return [f"{value!r}"] if value in METHODS else []
        case ast.keyword(arg=str(flag), value=value):
            safe = SAFE_FLAGS.get(flag)
            return [flag] if safe and ast.unparse(value) != safe else []
    return []


def loads_imported(node: ast.ImportFrom) -> list[str]:
    """Return the names that a statement imports by their own name."""
    module = (node.module or "").split(".")[0]
    if node.level or module.startswith("safebench"):
        return []
    imported = {alias.name for alias in node.names}
    calls = [f"{module}.{name}" for name in imported if f"{module}.{name}" in CALLS]
    return [*({module} & MODULES), *(imported & METHODS), *calls]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_is_loaded_outside_the_shared_loader(path: Path) -> None:
    """What loads weights, pickles or code stands in the loader, or it is refused."""
    assert [] == loads_in(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        "transformers.AutoConfig.from_pretrained(folder)",
        "load = transformers.AutoModel.from_pretrained",
        "getattr(auto, 'from_pretrained')(folder)",
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "from torch import load",
        "np.load(path)",
        "from safetensors.torch import load_file",
        "f(folder, trust_remote_code=True)",
        "f(folder, trust_remote_code=flag)",
        "f(path, weights_only=False)",
        "input('run it?')",
        "exec(text)",
    ],
)
def test_what_would_load_is_found(source: str) -> None:
    """Calls, references, imports and flags are told, whatever they are called on."""
    assert loads_in(source)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(LOADERS), ids=lambda path: path.name)
def test_the_loader_itself_trusts_nothing(path: Path) -> None:
    """Every `from_pretrained` of the loader has the flags, every load of NumPy too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        flags = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        spread = [ast.unparse(k.value) for k in node.keywords if k.arg is None]
        # PEFT has no such flag: it reads JSON and tensors.
        if name.endswith(".from_pretrained") and not name.startswith("peft."):
            assert "_NEVER_RUN" in spread
        if name.endswith(".from_config"):
            assert flags["trust_remote_code"] == "False"
        if name == "np.load":
            assert flags["allow_pickle"] == "False"
