#!/usr/bin/env bash
# Start fairseq-train as one job with a process on each GPU, by torchrun; arguments are those of fairseq-train.
#   8 GPUs of one machine:   examples/pretrain/launch/torchrun.sh data-bin/mine --user-dir mvlm_plugin ...
#   8 machines, on each:     NNODES=8 NODE_RANK=0..7 MASTER_ADDR=host-of-node-0 examples/pretrain/launch/torchrun.sh ...
#   2 processes on a CPU:    NPROC=2 examples/pretrain/launch/torchrun.sh ... --cpu
# --batch-size is of each process: the update's batch is NNODES x NPROC x --batch-size x --update-freq.
set -euo pipefail
exec torchrun --nnodes "${NNODES:-1}" --node-rank "${NODE_RANK:-0}" --nproc-per-node "${NPROC:-gpu}" \
    --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${MASTER_PORT:-29500}" \
    "$(command -v fairseq-train)" "$@"
