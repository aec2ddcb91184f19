#!/usr/bin/env bash
# Launch:  bash examples/pretrain/paper_ablation.sh
#          (from the checkout, on one machine with 8 GPUs) The paper's ablation setting: half of CC3M and COCO, 30
#          epochs.
# Needs:   8 GPUs of 40 GB (64 pairs each make the batch of 512; with N GPUs set the batch size to 512 / N), 64 CPU
#          cores for decoding, data-bin/coco as in paper_4m, and data-bin/cc3m-half from the first half of CC3M's tars
#          (mvlm-prep webdataset --tars 'cc3m/{00000..00165}.tar' ...): about 0.57 + 1.47 million captions; the
#          weights of paper_4m. The paper's Table 5 leaves losses out: --mim-weight 0 and so on.
# Cost:    an estimate, this was not run: 61 million pairs of 385 GFLOP are 2.4e19 FLOP; at a sustained 125 TFLOP/s a
#          GPU (40 % of an A100's bfloat16 peak) 53 GPU hours, 7 hours on 8 GPUs.
# Rates:   warm-up of 5 epochs from 3e-5 to 3e-4, then a cosine to 3e-5; the encoders follow in proportion, from 1e-6
#          to 1e-5 and back. fairseq counts updates: epochs * captions / 512, and the log says how many captions each
#          data-bin has. Change --warmup-updates and --max-update before the run, not on resuming: both bend the whole
#          curve.
# Change:  options given to this script come last and win:  ... --weight-ema 0.9999 --checkpoint-activations all --seed 2
set -euo pipefail
cd "$(dirname "$0")/../.."
DATA=${DATA:-data-bin/coco:data-bin/cc3m-half}
WEIGHTS=${WEIGHTS:-weights}
OUT=${OUT:-runs/paper_ablation}

fairseq-train "$DATA" --user-dir mvlm_plugin --task joint_masked_vl --arch mvlm_base --criterion joint_masked_vl \
    --image-encoder-weights "$WEIGHTS/vit_base_patch16_224.pth" --text-encoder-weights "$WEIGHTS/roberta.base/model.pt" \
    --dataset-weights 0.57,1.47 \
    --train-transform 'decode|random_resized_crop({size}, scale=0.5)|flip|randaugment(2, 7)' \
    --optimizer adamw_parts --lr 3e-4 --image-encoder-lr 1e-5 --text-encoder-lr 1e-5 --weight-decay 0.05 --clip-norm 1.0 \
    --lr-scheduler cosine --min-lr 3e-5 --warmup-updates 20000 --max-update 120000 \
    --autocast bf16 --batch-size 64 --num-workers 8 --seed 1 \
    --save-dir "$OUT/checkpoints" --no-epoch-checkpoints --save-interval-updates 5000 --keep-interval-updates 2 \
    --validate-interval-updates 5000 \
    --tensorboard-logdir "$OUT/tensorboard" --log-format json --log-interval 100 "$@"
