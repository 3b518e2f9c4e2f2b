#!/usr/bin/env bash
# All that is measured on a GPU, the most telling first, in MINUTES (13): bash benchmarks/speed/gpu.sh [MINUTES]
# A part whose time is up ends, and its table keeps what it has measured. PYTHON names the interpreter.
set -uo pipefail
cd "$(dirname "$0")/../.."
minutes=${1:-13}
speed() { # share of the time in per cent, options
    timeout --signal=INT "$((minutes * 60 * $1 / 100))" "${PYTHON:-.venv/bin/python}" -m benchmarks.speed "${@:2}"
}
speed 25 --parts whole --seeds 1,10
speed 30 --parts offline --agents td3_bc,iql,cql,spot,cal_ql --seeds 1,10,64
speed 25 --parts online --agents sac,rlpd,moorl,opt --seeds 1,10
JAX_DEFAULT_MATMUL_PRECISION=tensorfloat32 speed 20 --parts offline --agents td3_bc,iql,cql --seeds 1,10
