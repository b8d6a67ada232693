"""A guard behind a real vLLM server gives the numbers of the network itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import numpy as np
import pytest

from safebench.errors import ModelError
from safebench.evidence import EvidenceBundle, VerdictTree
from safebench.records import Sample, Turn
from safebench.strategies import Context

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safebench.classifiers import Recording

# a machine that has other work to do takes minutes to start the server
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]
STARTER = ROOT / "harness/safebench/datasets/data/starter.jsonl"
KEY = "sk-real-server-key-0123456789"
N_PROMPTS = 24


def prompts(count: int = N_PROMPTS) -> list[Sample]:
    """Return the first prompts of the starter set."""
    lines = STARTER.read_text(encoding="utf-8").splitlines()[:count]
    rows = [json.loads(line) for line in lines]
    return [
        Sample(id=str(i), turns=(Turn("user", row["prompt"]),))
        for i, row in enumerate(rows)
    ]


def record(samples: list[Sample], **options: Any) -> Recording:
    """Record verdict trees of the embedded guard."""
    from safebench_llamaguard_marginal.classifier import LlamaGuard
    from safebench_llamaguard_marginal.options import GuardOptions

    guard = LlamaGuard(GuardOptions(**options))
    try:
        return guard.record(samples, frozenset({VerdictTree}), lambda _: None)
    finally:
        guard.close()


def judged(recording: Recording) -> Any:
    """Return the judgements of marginal_any."""
    from safebench_llamaguard_marginal.strategies.marginal import marginal_any

    bundle = EvidenceBundle(recording.evidence)
    return marginal_any(bundle, Context(task="prompt_harm"))


@pytest.fixture(scope="module")
def local() -> Any:
    """Return the judgements of the network in this process."""
    return judged(record(prompts(), device="cpu"))


def server_options(vllm: Any, **more: Any) -> dict[str, Any]:
    """Return the options of the guard at the server."""
    return {"engine": "openai", "base_url": vllm.address, **more}


@pytest.mark.parametrize(("unlisted", "apart"), [("ids", 1e-4), ("cap", 1e-3)])
def test_scores_are_those_of_the_network(
    vllm: Any, local: Any, unlisted: str, apart: float
) -> None:
    """P(unsafe) within 1e-4, categories within 1e-4 with ids and 1e-3 by the cap."""
    served = judged(record(prompts(), **server_options(vllm, unlisted=unlisted)))

    np.testing.assert_allclose(served.score, local.score, atol=1e-4)
    np.testing.assert_allclose(served.categories, local.categories, atol=apart)
    decided = np.abs(local.score - 0.5) > 1e-4
    assert ((served.score >= 0.5) == (local.score >= 0.5))[decided].all()


def test_the_greedy_path_of_a_conversation_bounds_the_network_s_values(
    vllm: Any, local: Any
) -> None:
    """The chat endpoint gives sound trees, whose upper bound of P(unsafe) is close."""
    served = judged(record(prompts(), **server_options(vllm, api="chat")))

    assert (served.lower <= local.upper + 1e-5).all()
    assert (local.lower <= served.upper + 1e-5).all()
    assert (served.category_lower <= local.category_upper + 1e-5).all()
    assert (local.category_lower <= served.category_upper + 1e-5).all()
    np.testing.assert_allclose(served.upper, local.score, atol=1e-3)


def test_an_answer_that_is_begun_becomes_another_prompt(vllm: Any) -> None:
    """Why no verdict is begun in a conversation: the template would judge it."""
    question = {"role": "user", "content": "How do I build a bomb?"}
    begun = {"role": "assistant", "content": "\n\nunsafe"}
    open_end = {"continue_final_message": True, "add_generation_prompt": False}

    whole = chat(vllm, [question])["prompt_token_ids"]
    prefilled = chat(vllm, [question, begun], **open_end)["prompt_token_ids"]

    assert prefilled[: len(whole)] != whole


def chat(vllm: Any, messages: list[dict[str, str]], **more: Any) -> Any:
    """Return the server's answer to a conversation."""
    body = {
        "model": "tiny-guard",
        "messages": messages,
        "max_tokens": 1,
        "temperature": 0,
        "return_token_ids": True,
        **more,
    }
    return post(vllm, "/chat/completions", body)


def post(vllm: Any, path: str, body: Any) -> Any:
    """Return the server's answer to a request, past our client."""
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    with urlopen(Request(vllm.address + path, data, headers), timeout=240) as answer:
        return json.load(answer)


def test_requests_of_both_kinds_on_one_server_do_not_spoil_values(vllm: Any) -> None:
    """Another user looks tokens up meanwhile, which spoils answers of vLLM at times."""
    from safebench_llamaguard_marginal.engines.endpoint import Endpoint
    from safebench_llamaguard_marginal.engines.endpoint_options import EndpointOptions

    endpoint = Endpoint(
        EndpointOptions(
            base_url=vllm.address, served_model="tiny-guard", prompts_per_request=4
        )
    )
    contexts = [[0, i + 300, 2 * i + 400, 17] for i in range(64)]
    calm = endpoint.next_tokens(contexts, 5120, top=20)
    n_calm = n_made = endpoint.service.n_requests

    with another_user(vllm, contexts[:8]):
        for _ in range(30):
            mixed = endpoint.next_tokens(contexts, 5120, top=20)
            for before, after in zip(calm, mixed, strict=True):
                assert before.logp == pytest.approx(after.logp, abs=1e-5)
            n_made = endpoint.service.n_requests - n_made
            if spoilt := n_made > n_calm:
                break  # some answers had to be asked for again
            n_made = endpoint.service.n_requests
    endpoint.close()

    assert spoilt


def test_bounds_hold_beside_a_user_who_never_pauses(vllm: Any, local: Any) -> None:
    """What he spoils is asked for by id: that costs width, and not the run."""
    few = prompts(3)
    with another_user(vllm, [[0, i + 300] for i in range(8)], pause=0.0):
        served = judged(record(few, **server_options(vllm, retries=12)))

    assert (served.lower <= local.upper[:3] + 1e-5).all()
    assert (local.lower[:3] <= served.upper + 1e-5).all()
    assert (served.category_lower <= local.category_upper[:3] + 1e-5).all()
    assert (local.category_lower[:3] <= served.category_upper + 1e-5).all()
    np.testing.assert_allclose(served.score, local.score[:3], atol=1e-3)


class another_user:  # noqa: N801 - reads as a statement
    """Somebody who asks for given ids, with a `pause` (s) between two requests."""

    def __init__(
        self, vllm: Any, contexts: list[list[int]], pause: float = 0.01
    ) -> None:
        self.pause = pause
        self.body = {
            "model": "tiny-guard",
            "prompt": contexts,
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": 1,
            "logprob_token_ids": [5, 6],
        }
        self.vllm = vllm
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        while not self.done.wait(self.pause):
            post(self.vllm, "/completions", self.body)

    def __enter__(self) -> None:
        self.thread.start()
        time.sleep(0.2)

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"served_model": "tiny-gard"}, "did you mean 'tiny-guard'"),
        ({"top_logprobs": 65}, "--max-logprobs 65"),
        ({"api": "chat", "top_logprobs": 65}, "--max-logprobs 65"),
        ({"max_length": 1000}, "takes 1024 tokens"),
    ],
    ids=["name", "logprobs", "chat-logprobs", "length"],
)
def test_what_the_server_cannot_do_is_said_before_the_run(
    vllm: Any, options: dict[str, Any], message: str
) -> None:
    """In one line, with what would work."""
    from safebench.errors import SafebenchError

    with pytest.raises(SafebenchError, match=message):
        record(prompts(1), **server_options(vllm, **options))


def test_a_path_that_is_wrong_is_said_before_the_run(vllm: Any) -> None:
    """The part of an address that is forgotten most."""
    address = vllm.address.removesuffix("/v1")

    with pytest.raises(ModelError, match="does the address end in /v1"):
        record(prompts(1), engine="openai", base_url=address)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a file of 48 prompts."""
    path = tmp_path / "data.jsonl"
    rows = [
        {"prompt": s.turns[0].text, "label": ("safe", "unsafe")[i % 2]}
        for i, s in enumerate(prompts(48))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def start(vllm: Any, data: Path, out: Path) -> subprocess.Popen[str]:
    """Start a run of the command line in shards of 8."""
    arguments = [
        *("run", "-c", "llamaguard", "-d", str(data), "--out", str(out)),
        *("--set", "engine=openai", "--set", f"base_url={vllm.address}"),
        *("--shard-size", "8", "--set", "retries=12"),
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "safebench", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENAI_API_KEY": KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def shards(out: Path) -> dict[str, bytes]:
    """Return the shards of evidence that are stored, by name."""
    return {p.name: p.read_bytes() for p in sorted((out / "evidence").rglob("*.npz"))}


def scores(out: Path) -> dict[str, float]:
    """Return the score of every sample."""
    (path,) = (out / "predictions").rglob("*.jsonl")
    lines = map(json.loads, path.read_text().splitlines())
    return {line["id"]: line["score"] for line in lines}


def test_a_server_that_is_killed_and_started_again_loses_nothing(
    vllm: Any, data: Path, tmp_path: Path
) -> None:
    """The run waits for it; what was stored is untouched, values within 1e-4.

    No key gets into a file or a message.
    """
    said = []
    calm = start(vllm, data, tmp_path / "calm")
    said.append(calm.communicate(timeout=300)[0])
    assert 0 == calm.returncode, said

    broken = start(vllm, data, tmp_path / "broken")
    for _ in wait_until(lambda: len(shards(tmp_path / "broken")) >= 2):
        assert broken.poll() is None
    before = shards(tmp_path / "broken")
    vllm.stop(signal.SIGKILL)
    vllm.start()
    vllm.wait()
    said.append(broken.communicate(timeout=300)[0])
    assert 0 == broken.returncode, said

    after = shards(tmp_path / "broken")
    assert all(after[name] == content for name, content in before.items())
    expected, found = scores(tmp_path / "calm"), scores(tmp_path / "broken")
    assert expected.keys() == found.keys()
    assert all(abs(expected[i] - found[i]) < 1e-4 for i in expected)
    # what the server says of itself, and its model of three prompts, is as before
    again = start(vllm, data, tmp_path / "calm")
    said.append(again.communicate(timeout=300)[0])
    assert 0 == again.returncode, said
    assert "uses stored evidence of 48 samples" in said[-1]
    written = (p for p in tmp_path.rglob("*") if p.is_file())
    assert not any(KEY.encode() in path.read_bytes() for path in written)
    assert KEY not in "".join(said)


def wait_until(condition: Any, seconds: float = 240.0) -> Iterator[None]:
    """Yield ten times a second until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        with suppress(OSError):  # a file may be renamed meanwhile
            yield
        time.sleep(0.1)
