#!/usr/bin/env bash
# Launch:  bash examples/pretrain/one_gpu.sh
#          (from the checkout) The ablation setting on one GPU: the same batch of 512, of which 64 pairs at a time are
#          in memory.
# Needs:   one GPU of 40 GB (less memory: a smaller feature cache chunk), 8 CPU cores for decoding; data and weights
#          of paper_ablation. The contrastive loss compares all 512 pairs, as on 8 GPUs; accumulation (--update-freq)
#          would compare 64 at a time.
# Cost:    an estimate, this was not run: encoding twice for the feature cache makes 465 GFLOP a pair; 61 million
#          pairs are 2.9e19 FLOP; at a sustained 125 TFLOP/s (40 % of an A100's bfloat16 peak) 63 hours.
# Rates:   warm-up of 5 epochs from 3e-5 to 3e-4, then a cosine to 3e-5; the encoders follow in proportion, from 1e-6
#          to 1e-5 and back. fairseq counts updates: epochs * captions / 512, and the log says how many captions each
#          data-bin has. Change --warmup-updates and --max-update before the run, not on resuming: both bend the whole
#          curve.
# Change:  options given to this script come last and win:  ... --weight-ema 0.9999 --checkpoint-activations all --seed 2
set -euo pipefail
cd "$(dirname "$0")/../.."
DATA=${DATA:-data-bin/coco:data-bin/cc3m-half}
WEIGHTS=${WEIGHTS:-weights}
OUT=${OUT:-runs/one_gpu}

fairseq-train "$DATA" --user-dir mvlm_plugin --task joint_masked_vl --arch mvlm_base --criterion joint_masked_vl \
    --image-encoder-weights "$WEIGHTS/vit_base_patch16_224.pth" --text-encoder-weights "$WEIGHTS/roberta.base/model.pt" \
    --dataset-weights 0.57,1.47 \
    --train-transform 'decode|random_resized_crop({size}, scale=0.5)|flip|randaugment(2, 7)' \
    --optimizer adamw_parts --lr 3e-4 --image-encoder-lr 1e-5 --text-encoder-lr 1e-5 --weight-decay 0.05 --clip-norm 1.0 \
    --lr-scheduler cosine --min-lr 3e-5 --warmup-updates 20000 --max-update 120000 \
    --autocast bf16 --batch-size 512 --feature-cache-chunk 64 --num-workers 8 --seed 1 \
    --save-dir "$OUT/checkpoints" --no-epoch-checkpoints --save-interval-updates 5000 --keep-interval-updates 2 \
    --validate-interval-updates 5000 \
    --tensorboard-logdir "$OUT/tensorboard" --log-format json --log-interval 100 "$@"
