#!/usr/bin/env bash
# Launch:  bash examples/pretrain/cpu.sh
#          (from the checkout) The same recipe at a size that two CPU cores can train, from scratch.
# Needs:   two CPU cores, 6 GB of memory, data-bin/mine: some 10,000 photos with captions, see README.md.
# Cost:    an estimate, this was not run: 128,000 pairs of 3.3 GFLOP are 4.2e14 FLOP; at a sustained 40 GFLOP/s 3 hours.
# Rates:   warm-up of 200 updates to 1e-3, cosine to 1e-4, the same for all parts: nothing here is pre-trained.
# Change:  options given to this script come last and win:  DATA=data-bin/scenes bash examples/pretrain/cpu.sh --arch mvlm_tiny
set -euo pipefail
cd "$(dirname "$0")/../.."
DATA=${DATA:-data-bin/mine}
OUT=${OUT:-runs/cpu}

fairseq-train "$DATA" --user-dir mvlm_plugin --task joint_masked_vl --arch mvlm_mini --criterion joint_masked_vl \
    --train-transform 'decode|random_resized_crop({size}, scale=0.5)|flip|randaugment(2, 7)' \
    --optimizer adamw_parts --lr 1e-3 --weight-decay 0.05 --weight-ema 0.999 --clip-norm 1.0 \
    --lr-scheduler cosine --min-lr 1e-4 --warmup-updates 200 --max-update 2000 \
    --batch-size 64 --num-workers 1 --seed 1 --cpu \
    --save-dir "$OUT/checkpoints" --no-epoch-checkpoints --save-interval-updates 500 --keep-interval-updates 1 \
    --tensorboard-logdir "$OUT/tensorboard" --log-format json --log-interval 25 "$@"
