"""The built wheels are whole: installed alone, they run from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECTS = [
    ROOT,
    *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml")),
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Build every distribution of this repository."""
    out = tmp_path_factory.mktemp("wheels")
    for project in PROJECTS:
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation",
             "--outdir", str(out), str(project)],
            check=True,
            capture_output=True,
        )  # fmt: skip
    return sorted(out.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment with the wheels and their dependencies.

    Dependencies are borrowed from this environment by a path file, behind the wheels:
    its own editable installs are reached by path files too, which are not read twice.
    """
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    command = [python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", *wheels]
    subprocess.run(command, check=True, capture_output=True)
    find = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.check_output([python, "-c", find], text=True).strip()
    borrowed = sysconfig.get_path("purelib")
    (Path(site) / "borrowed.pth").write_text(borrowed + "\n", encoding="utf-8")
    return python


def test_wheels_hold_packages_and_their_data_only(wheels: list[Path]) -> None:
    """Data files are in, tests and build-time code are out."""
    names = [name for wheel in wheels for name in zipfile.ZipFile(wheel).namelist()]

    for needed in (
        "safebench/py.typed",
        "safebench/classifiers/keywords.txt",
        "safebench/datasets/data/starter.jsonl",
        "safebench/policies/llama-guard-3.yaml",
        "safebench/reporters/published/prompts.jsonl",
        "safebench/web/static/style.css",
        "safebench/web/templates/base.html",
        "safebench_llamaguard_marginal/tiny_guard/model.safetensors",
        "safebench_llamaguard_marginal/tiny_guard/README.md",
    ):
        assert needed in names
    tops = {name.partition("/")[0] for name in names}
    packages = {top for top in tops if not top.endswith(".dist-info")}
    plugins = {
        "safebench_any_guardrail",
        "safebench_bert_ensemble",
        "safebench_cost_model",
        "safebench_feedback_finetune",
        "safebench_llamaguard_marginal",
        "safebench_logtoku",
        "safebench_ray",
    }
    assert packages == {"safebench", *plugins}


def test_installed_wheels_run_from_another_folder(python: Path, tmp_path: Path) -> None:
    """Both classifiers run, from the installed files and not from this checkout."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    env |= {"OMP_NUM_THREADS": "1"}
    where = "import safebench, safebench_llamaguard_marginal as p; print(p.__file__)"
    origin = subprocess.check_output(
        [python, "-c", where], cwd=tmp_path, env=env, text=True
    )

    result = subprocess.run(
        [python.with_name("safebench"), "run", "-c", "keyword", "-c", "llamaguard",
         "--limit", "24"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip

    assert str(python.parents[1]) in origin
    assert 0 == result.returncode, result.stderr
    assert "tiny-guard (embedded)" in result.stdout
