#!/usr/bin/env bash
# Train with one process a GPU, started by torchrun; here with 4; from the repository, with the environment
# of ardmvc active:
#
#   scripts/fit_torchrun.sh 4 --config configs/victims/comvc.yaml --config configs/data/digits.yaml
#
# On several machines, the same on each, with their number and a free port of one of them:
#
#   NODES=2 RENDEZVOUS=first-machine:29500 scripts/fit_torchrun.sh 4 ...

set -euo pipefail

processes=${1:?number of processes on this machine}
shift
nodes=${NODES:-1}
if ((nodes > 1)); then
    meeting=(--rdzv-backend=c10d --rdzv-endpoint="${RENDEZVOUS:?MACHINE:PORT, the same everywhere}" --rdzv-id=ardmvc)
else
    meeting=(--standalone)
fi

exec torchrun --nnodes="$nodes" --nproc-per-node="$processes" "${meeting[@]}" \
    -m ar_dmvc fit --config=configs/trainer/multi_gpu.yaml "$@" --trainer.num_nodes="$nodes" --trainer.devices="$processes"
