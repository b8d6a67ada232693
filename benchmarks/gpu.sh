#!/bin/sh
# Measure on one GPU what a CPU cannot tell; `benchmarks/gpu.sh --help` says what.
#
# Needs this checkout and a Python ($PYTHON, else python3 or python) that has PyTorch
# and transformers. Packages that it lacks are taken from the folder wheels of the
# checkout (or $WHEELS), if they lie there; nothing is downloaded.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$(command -v python3 || command -v python || true)}
[ -n "$python" ] || {
    echo "gpu.sh: no Python here; PYTHON=/where/it/is names one" >&2
    exit 2
}
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec "$python" "$root/benchmarks/gpu/main.py" "$@"
