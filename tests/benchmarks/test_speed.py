"""The methods that the speed script compares must compute the same thing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parents[2] / "benchmarks" / "speed"
PIECES = [b"safe", b"unsafe", b"\n", b"S1", b",S2", b"", b"x"]
END = 5
BUDGET = 3


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    """Let the script's own package be imported."""
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def setting() -> Any:
    """Return a random float64 Llama of seven tokens and three prompts."""
    import torch
    from guardspeed.setting import Setting
    from transformers import LlamaConfig, LlamaForCausalLM

    from safebench.testing.grammars import llama_guard

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(PIECES),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.25,
        eos_token_id=END,
        bos_token_id=None,
    )
    network = LlamaForCausalLM(config).double().eval()
    return Setting(
        name="random",
        network=network,
        pieces=PIECES,
        eos=frozenset({END}),
        pad=END,
        grammar=llama_guard(("S1", "S2"), opener=""),
        spell=None,
        policy=None,
        prompts=[(6, 0, 1, 2), (6, 0, 1, 3, 4), (6, 0, 4)],
        prefix=(6, 0),
    )


def engine_of(setting: Any, **changes: Any) -> Any:
    """Return the engine without a cut, with a budget of three tokens."""
    from guardspeed.tree_recording import explorer

    from safebench.verdict_tree.explorer import ExploreOptions

    options = ExploreOptions(
        **(
            {"eps": 0.0, "force_canonical": False, "max_tokens": BUDGET, "top_k": 1}
            | changes
        )
    )
    return explorer(setting, options)


def paths(tree: Any, sample: int) -> dict[tuple[int, ...], float]:
    """Return P(path) of every node of a sample's tree."""
    at = slice(*tree.offsets["N"][sample : sample + 2])
    parent, token = tree["parent"][at], tree["token"][at]
    said: list[tuple[int, ...]] = []
    log: list[float] = []
    for node, above in enumerate(parent):
        said.append((*said[above], int(token[node])) if above >= 0 else ())
        log.append((log[above] if above >= 0 else 0.0) + float(tree["logp"][at][node]))
    return dict(zip(said, np.exp(log), strict=True))


@pytest.mark.slow
def test_one_call_a_node_gives_the_engines_tree(setting: Any) -> None:
    """At eps 0 every node that the engine keeps has the first way's probability.

    `generate` hands logits out in float32, which leaves about 1e-7.
    """
    from guardspeed.generate_per_node import generate_tree
    from guardspeed.setting import with_own_head
    from guardspeed.tree_recording import record

    tree, _ = record(engine_of(setting), setting)

    for sample, prompt in enumerate(setting.prompts):
        with with_own_head(setting) as network:
            expected = generate_tree(network, setting, prompt, 0.0, BUDGET)
        got = paths(tree, sample)
        assert len(got) >= 10
        for path, mass in got.items():
            assert expected[path] == pytest.approx(mass, abs=1e-6)


@pytest.mark.slow
def test_one_call_a_node_gives_the_engines_values(setting: Any) -> None:
    """P(unsafe) is the mass of the first way's leaves that read as unsafe."""
    from guardspeed.generate_per_node import count_expanded, generate_tree
    from guardspeed.setting import with_own_head
    from guardspeed.tree_recording import record

    from safebench.verdict_tree.bounds import TreeBounds

    engine = engine_of(setting)
    tree, nodes = record(engine, setting)
    got = TreeBounds(tree).level_bounds([False, True]).lower

    for sample, prompt in enumerate(setting.prompts):
        with with_own_head(setting) as network:
            found = generate_tree(network, setting, prompt, 0.0, BUDGET)
        leaves = {
            p: m for p, m in found.items() if len(p) == BUDGET or p[-1:] == (END,)
        }
        assert 1.0 == pytest.approx(sum(leaves.values()), abs=1e-12)
        expected = sum(
            mass
            for path, mass in leaves.items()
            if engine.automaton.parse(text(path)).level == "unsafe"
        )
        assert expected == pytest.approx(got[sample], abs=1e-6)
        assert count_expanded(found, setting, BUDGET) >= nodes[sample]


def test_two_number_formats_are_compared_by_calibration_too() -> None:
    """Errors of both and their difference, over prompts that have both scores."""
    from guardspeed.precision import calibration

    truth = (True, False, True, False, True)
    one = np.array([0.9, 0.1, 0.9, 0.1, 0.1])
    other = np.array([0.7, 0.3, 0.7, 0.3, np.nan])

    expected = {"ece": 0.1, "ece_other": 0.3, "difference": 0.2}
    assert expected == pytest.approx(calibration(truth, one, other))
    assert calibration((), one, other) is None


def text(path: tuple[int, ...]) -> str:
    """Return what a path says."""
    return b"".join(PIECES[token] for token in path).decode()


def test_eps_prunes_the_first_way(setting: Any) -> None:
    """With eps, only children of at least that probability are kept and followed."""
    from guardspeed.generate_per_node import generate_tree
    from guardspeed.setting import with_own_head

    with with_own_head(setting) as network:
        whole = generate_tree(network, setting, setting.prompts[0], 0.0, BUDGET)
        found = generate_tree(network, setting, setting.prompts[0], 0.1, BUDGET)

    expected = {path: mass for path, mass in whole.items() if mass >= 0.1}
    assert 1 < len(expected) < len(whole)
    assert expected == pytest.approx(found)


def test_batched_generate_says_the_greedy_verdict(setting: Any) -> None:
    """Padding and batches leave the greedy tokens as the engine finds them."""
    from guardspeed.plain_generate import generate_greedy
    from guardspeed.setting import with_own_head

    exploration = engine_of(setting, eps=0.5).explore(setting.prompts)
    with with_own_head(setting) as network:
        verdicts = generate_greedy(network, setting, BUDGET)

    for prompt, tokens in zip(exploration.stats, verdicts, strict=True):
        expected = prompt.raw
        kept = tokens[: tokens.index(END)] if END in tokens else tokens
        assert expected
        assert text(tuple(kept)).startswith(expected)


@pytest.mark.slow
def test_the_meter_counts_passes_and_tokens(setting: Any) -> None:
    """A call with two rows of three tokens is one pass and six tokens."""
    import torch
    from guardspeed.meter import measured
    from guardspeed.setting import with_own_head

    with with_own_head(setting) as network, measured(network) as reading:
        network(torch.tensor([[0, 1, 2], [3, 4, 6]]))

    assert (1, 6) == (reading.passes, reading.tokens)
    assert reading.seconds > 0


def test_a_temperature_divides_the_logits(setting: Any) -> None:
    """Twice the temperature is half the logits; another starts from the same."""
    import torch
    from guardspeed.setting import scale_logits, with_own_head

    ids = torch.tensor([[6, 0, 1]])
    with torch.no_grad(), with_own_head(setting) as network:
        before = network(ids).logits
        scale_logits(setting, 3.0)
        scale_logits(setting, 2.0)
        after = network(ids).logits
        scale_logits(setting, 1.0)
        again = network(ids).logits

    assert (before / 2).numpy() == pytest.approx(after.numpy(), abs=1e-12)
    assert before.numpy() == pytest.approx(again.numpy(), abs=1e-12)


@pytest.mark.slow
def test_random_llama_speaks_the_grammar() -> None:
    """The output layer that is built makes every greedy verdict readable."""
    import torch
    from guardspeed.random_llama import random_llama
    from guardspeed.tree_recording import DEFAULT, explorer, record

    from safebench.verdict_tree.bounds import TreeBounds

    made = random_llama(2, 16, shape="tiny", device="cpu", dtype=torch.float32)
    tree, nodes = record(explorer(made, DEFAULT), made)

    assert (tree["level"][TreeBounds(tree).greedy_end] >= 0).all()
    assert 0.05 > TreeBounds(tree).invalid_bounds.upper.max()
    assert 2 == len(nodes)


@pytest.mark.slow
def test_the_script_writes_what_it_measured(tmp_path: Path) -> None:
    """A small run prints a table and writes rows, ratios, versions, but no prompt."""
    out = tmp_path / "speed.json"
    few = ["--prompts=6", "--slow=1", "--rounds=1", "--prefix-tokens=0", "--nodes=own"]
    command = [sys.executable, FOLDER / "run.py", *few, "--out", out]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stderr
    assert "prompts/s" in done.stdout
    document = json.loads(out.read_text())
    (found,) = document["results"]
    assert list("abcde") == [row["method"] for row in found["rows"]]
    assert {"a/c", "a/d", "b/c", "b/d", "d/c", "a/c by node"} == set(found["ratios"])
    assert 1 == document["threads"]
    assert document["versions"]["torch"]
    assert max(map(len, strings(document))) < 200


def strings(value: Any) -> Iterator[str]:
    """Yield every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
