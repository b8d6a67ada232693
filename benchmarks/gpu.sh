#!/bin/sh
# Measure on one GPU what a CPU cannot tell; `benchmarks/gpu.sh --help` says what.
#
# Needs this checkout, and an environment with PyTorch and transformers ($PYTHON, else
# python or python3). Other packages that are missing are taken from the folder
# wheels of the checkout (or $WHEELS), if they lie there; nothing is downloaded.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)

python=${PYTHON:-$(command -v python || command -v python3)}
wheels=${WHEELS:-$root/wheels}
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
path="$root/benchmarks:$root/benchmarks/gpu:$root/benchmarks/speed:$root/harness"
for source in "$root"/plugins/*/src; do path="$path:$source"; done
export PYTHONPATH="$path${PYTHONPATH:+:$PYTHONPATH}"

# Names of packages as pip knows them that cannot be imported here.
missing=$("$python" - <<'END'
from importlib.util import find_spec

needed = {
    "torch": "torch", "transformers": "transformers", "numpy": "numpy",
    "scipy": "scipy", "scikit-learn": "sklearn", "click": "click",
    "pluggy": "pluggy", "rich": "rich", "datasets": "datasets", "pyyaml": "yaml",
    "jsonlines": "jsonlines", "filelock": "filelock", "tokenizers": "tokenizers",
    "safetensors": "safetensors", "accelerate": "accelerate", "peft": "peft",
    "jinja2": "jinja2",
}
print(*(name for name, module in needed.items() if find_spec(module) is None))
END
)
if [ -n "$missing" ]; then
    if [ -d "$wheels" ]; then
        echo "installing from $wheels: $missing" >&2
        # Names of packages hold no spaces: each is an argument.
        # shellcheck disable=SC2086
        "$python" -m pip install --quiet --no-index --find-links "$wheels" $missing ||
            echo "not all could be installed; steps that need them will fail" >&2
    else
        echo "missing here, and there is no folder $wheels: $missing" >&2
    fi
fi
exec "$python" "$root/benchmarks/gpu/main.py" "$@"
