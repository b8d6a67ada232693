"""A real vLLM server on loopback, with the embedded guard: started, watched, stopped.

As a script it runs one in the foreground: ``python tests/engines/vllm_server.py``.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
GUARD = ROOT.joinpath(
    "plugins/llamaguard_marginal/src/safebench_llamaguard_marginal/tiny_guard"
)
SERVED = "tiny-guard"
MAX_LOGPROBS = 64
# A process that is told to stop ends its workers first.
STOP_SECONDS = 20
START_SECONDS = 900
_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}


def vllm_python() -> str | None:
    """Return the interpreter that can import vLLM, None if there is none.

    This one, or the one that the variable SAFEBENCH_VLLM names.
    """
    if named := os.environ.get("SAFEBENCH_VLLM"):
        return named if Path(named).is_file() else None
    return sys.executable if importlib.util.find_spec("vllm") else None


@dataclass
class VllmServer:
    """A server that can be killed and started again on the same port.

    `arguments` are added to the command line of the server.
    """

    python: str
    port: int
    log: Path
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def address(self) -> str:
        """The `base_url` of a client."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def health(self) -> str:
        """The address that answers once the server is ready."""
        return f"http://127.0.0.1:{self.port}/health"

    def start(self) -> None:
        """Start the server in a session of its own, without waiting for it."""
        assert self.process is None
        command = [
            *(self.python, "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(GUARD), "--served-model-name", SERVED),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--dtype", "float32", "--enforce-eager", "--max-model-len", "1024"),
            *("--max-logprobs", str(MAX_LOGPROBS), "--block-size", "32"),
            "--enable-prefix-caching",
            *self.arguments,
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, **_ENVIRONMENT},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until the server answers; RuntimeError has the end of its log."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            assert self.process is not None
            if self.process.poll() is not None:
                break
            with suppress(URLError, OSError), urlopen(self.health, timeout=5):
                return
            time.sleep(0.5)
        tail = self.log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"vLLM did not start: {tail}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the server and its workers, which are in its session and in no other."""
        if self.process is None:
            return
        group = self.process.pid
        with suppress(ProcessLookupError):
            os.killpg(group, how)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            how = signal.SIGKILL
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)  # workers may outlive their parent
        self.process.wait()
        self.process = None


def free_port() -> int:
    """Return a port of loopback that nothing uses now, and no client takes meanwhile.

    Clients get theirs from higher ones (Linux: 32768 and above), and the server takes
    minutes to bind its own where the machine has other work.
    """
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[VllmServer]:
    """Run a server; one at a time on a machine, since each takes 3 GB of memory."""
    python = vllm_python()
    assert python, "vLLM is not installed"
    server = VllmServer(python, free_port(), folder / "vllm.log", arguments)
    lock = Path(python).absolute().parents[1]
    with Path(f"{lock}-server.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            server.start()
            server.wait()
            yield server
        finally:
            server.stop()


def main() -> None:
    """Serve until interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        tempfile.TemporaryDirectory() as folder,
        suppress(KeyboardInterrupt),
        serving(Path(folder), *sys.argv[1:]) as server,
    ):
        sys.stdout.write(f"{server.address}\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main()
