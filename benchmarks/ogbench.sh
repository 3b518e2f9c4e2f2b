#!/usr/bin/env bash
# Learning curves to hold against OGBench's published ones, the most telling first, in MINUTES (13), say on a GPU:
#   bash benchmarks/ogbench.sh [MINUTES]
# A training whose time is up goes on from its checkpoint when this is called again; `moorl-jax tables ogbench` shows
# what has finished. PYTHON names the interpreter, RESULTS the results (results). The data is made beforehand, a set for
# all tasks of an environment: moorl-jax data make ogbench-scene-play-task2. UPDATES (300000), EVERY (100000),
# EPISODES (50) and SEEDS (3) are a training's.
set -uo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-13} results=${RESULTS:-results}
scene=ogbench-scene-play-sparse-task2 puzzle=ogbench-puzzle-3x3-play-sparse-task1 cubes=ogbench-cube-double-play-task2
ends=$((SECONDS + minutes * 60))
while read -r agent task; do
    set=${task#ogbench-} set=${set%-task*} out=$results/cells/$task/$agent-curve
    data=${MOORL_DATA_DIR:-$HOME/.cache/moorl_jax}/recipe/ogbench/${set%-sparse}-v0.npz
    [[ -e $data ]] || { echo "$agent $task: there is no $data; make it first" && continue; }
    left=$((ends - SECONDS))
    [[ -e $out/config.json || $left -le 0 ]] && continue
    timeout --signal=INT --kill-after=60 "$left" "${PYTHON:-.venv/bin/python}" -m moorl_jax train \
        --agent "$agent" --task "$task" --source recipe --seeds "${SEEDS:-3}" --updates "${UPDATES:-300000}" \
        --evaluate-every "${EVERY:-100000}" --episodes "${EPISODES:-50}" --out "$out" </dev/null
done <<TRAININGS
rebrac $puzzle
qc $puzzle
qc $scene
rebrac $scene
fql $scene
ifql $scene
fql $puzzle
qc $cubes
ifql $puzzle
fql $cubes
ifql $cubes
rebrac $cubes
TRAININGS
