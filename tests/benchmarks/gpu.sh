#!/usr/bin/env bash
# What a graphics card makes of it, in one table and under eight minutes:
#
#   tests/benchmarks/gpu.sh            SD 1.5's size with random weights, fp16, 512 px, on the card
#   tests/benchmarks/gpu.sh --tiny     the same script in miniature on the CPU: that it runs, no figures
#
# PYTHON names an interpreter with torch (of the card's CUDA), diffusers and this project's `runner` and `embedded` extras;
# default: .venv/bin/python, else python3. COMFYUI_PATH names a ComfyUI to measure against; without one that row is left out.
# TABLE, if set, is a file that gets the table too.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
# The clone is imported as the package `defectforge`, whatever its folder is called.
link=$(mktemp -d)
trap 'rm -rf "$link"' EXIT
ln -s "$PWD" "$link/defectforge"
export PYTHONPATH="$link${PYTHONPATH:+:$PYTHONPATH}"
timeout --signal=INT 475 "$python" tests/benchmarks/bench_gpu.py "$@" | tee "${TABLE:-/dev/null}"
