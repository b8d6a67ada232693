"""One real vLLM server for all tests of engines, which are skipped where there is none.

``make test-engines`` makes the environment in which they run.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILE = Path(__file__).parent / "vllm_server.py"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("_vllm_server", _FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a server with the embedded guard, which tests may stop and start again."""
    module = _load()
    if module.vllm_python() is None:
        pytest.skip("vLLM is not installed here: `make test-engines` would do it")
    pytest.importorskip("openai", reason="the client of OpenAI is not installed")
    with module.serving(tmp_path_factory.mktemp("vllm")) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach loopback whatever the environment says."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
