"""The original recipes run whole at small scale, and their numbers find their place."""

from __future__ import annotations

import importlib.util
import io
import json
import os
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from safebench.cli import cli
from safebench.plugins import Plugins
from safebench_feedback_finetune.commands import feedback_group

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "benchmarks" / "recipes" / "original"
needs_data = pytest.mark.skipif(
    "SAFEBENCH_DATA" not in os.environ, reason="SAFEBENCH_DATA names no data"
)
WORDS = ["how", "do", "i", "make", "a", "the", "with", "my", "what", "is", "to"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script as a module that calls commands in this process."""
    path = ROOT / "benchmarks" / "original.py"
    spec = importlib.util.spec_from_file_location("original_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def called(*words: object, captured: bool = False) -> str:
        first, *rest = map(str, words)
        command, arguments = (
            (feedback_group, rest) if first == "feedback" else (cli, [first, *rest])
        )
        done = CliRunner().invoke(
            command, arguments, obj=Plugins(), catch_exceptions=False
        )
        assert 0 == done.exit_code, done.output
        return done.stdout

    monkeypatch.setattr(module, "safebench", called)
    return module


def save_base(folder: Path, *, causal: bool) -> Path:
    """Save a random model of a few words: an encoder, or one that writes."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        BertConfig,
        BertModel,
        GPTNeoConfig,
        GPTNeoForCausalLM,
        PreTrainedTokenizerFast,
    )

    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    backend = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]")
    )
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = {"eos_token": "[SEP]"} if causal else {"cls_token": "[CLS]"}
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        sep_token="[SEP]",
        **ends,
    ).save_pretrained(folder)
    network: Any
    if causal:
        network = GPTNeoForCausalLM(
            GPTNeoConfig(
                vocab_size=len(words),
                hidden_size=16,
                num_layers=2,
                attention_types=[[["global", "local"], 1]],
                num_heads=2,
                max_position_embeddings=512,
                bos_token_id=3,
                eos_token_id=3,
            )
        )
    else:
        network = BertModel(
            BertConfig(
                vocab_size=len(words),
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
                max_position_embeddings=256,
            )
        )
    network.save_pretrained(folder)
    return folder


def printed(script: Any, *arguments: str) -> str:
    """Return what the script prints."""
    with redirect_stdout(io.StringIO()) as output:
        script.main(arguments)
    return output.getvalue()


def test_each_recipe_has_a_published_number_or_says_that_none_was_read() -> None:
    """Nothing is compared with a number from memory."""
    published = yaml.safe_load((RECIPES / "published.yaml").read_text())
    names = {path.stem for path in RECIPES.glob("*.yaml")} - {"published"}

    assert names == set(published)
    assert all(entry["counts"] for entry in published.values())


def test_the_ensemble_counts_and_not_its_first_member(script: Any) -> None:
    """Members are measured as well, and come first."""
    cells = {"low": None, "high": None, "n": 9}
    facts = {
        "metrics": {
            "test": {
                "member 1": {"f1": {"value": 0.1, **cells}},
                "ensemble (mean_logits)": {"f1": {"value": 0.7, **cells}},
            }
        }
    }
    assert 0.7 == script.measured(facts, "f1", "ensemble (mean_logits)")[0]


@needs_data
@pytest.mark.slow
def test_three_ensembles_in_one_table(script: Any, tmp_path: Path) -> None:
    """F1 of mean logits beside the published F1, and that settings were others."""
    base = save_base(tmp_path / "base", causal=False)
    flags = f"--base {base} --members 2 --sample 60 --epochs 1 --max-length 32"

    table = printed(script, "ensembles", str(tmp_path), *flags.split())

    for name, value in (
        ("distilbert", "0.780"),
        ("bert", "0.800"),
        ("roberta", "0.840"),
    ):
        facts = json.loads((tmp_path / f"ensemble-{name}/safebench.json").read_text())
        f1 = facts["metrics"]["test"]["ensemble (mean_logits)"]["f1"]["value"]
        cells = next(line for line in table.splitlines() if f"ensemble-{name}" in line)
        assert value in cells
        assert f"{f1:.3f}" in cells
    assert "not the published settings: --base" in table


@needs_data
@pytest.mark.slow
def test_the_cost_model_counts_rows(script: Any, tmp_path: Path) -> None:
    """A first stage, then pairs; a pair that was labelled twice counts twice."""
    base = save_base(tmp_path / "base", causal=True)
    flags = f"--base {base} --sample 24 --epochs 1 --max-length 32"

    table = printed(script, "cost", str(tmp_path), *flags.split())

    facts = json.loads((tmp_path / "cost-gptneo/safebench.json").read_text())
    measured = facts["metrics"]["test"]["cost_model"]
    rows = measured["sign_accuracy (rows)"]
    line = next(line for line in table.splitlines() if "cost-gptneo" in line)
    assert "0.818" in line
    assert f"{rows['value']:.3f}" in line
    assert str(rows["n"]) in line
    assert rows["n"] > measured["sign_accuracy"]["n"]


@needs_data
@pytest.mark.slow
def test_seven_readings_on_three_sets(script: Any, tmp_path: Path) -> None:
    """The table is a CSV of three metrics; the embedded guard stands in."""
    flags = ("--limit", "6", "-c", "llamaguard")

    printed(script, "marginalization", str(tmp_path), *flags)

    lines = (tmp_path / "token-marginalization.csv").read_text().splitlines()
    assert 1 + 7 * 3 == len(lines)
    assert "micro_f1,hamming_loss,micro_auroc" in lines[0]
    assert sum("compat=original" in line for line in lines) == 7 * 3


@needs_data
@pytest.mark.slow
def test_feedback_is_collected_learnt_and_measured(script: Any, tmp_path: Path) -> None:
    """Stored responses stand in for a language model's."""
    harmless = tmp_path / "harmless.jsonl"
    prompts = [{"prompt": f"how is tea {i} made", "label": "safe"} for i in range(24)]
    harmless.write_text("".join(json.dumps(row) + "\n" for row in prompts))
    flags = (
        f"--benign {harmless} --guard= --generator replay --quantize none "
        "--policy llama-guard-3 --format auto -d diasafety --limit 24 "
        "--epochs 1 --draws 20"
    )
    table = printed(script, "feedback", str(tmp_path), *flags.split())

    learnt = next(line for line in table.splitlines() if "learnt, no gate" in line)
    assert "0.070" in learnt
    assert "base re-tuned" in table
