#!/usr/bin/env bash
# Launch:  bash examples/pretrain/paper_4m.sh
#          (from the checkout, on one machine with 8 GPUs) The paper's run: 4 million images, 50 epochs, base size,
#          224 pixels.
# Needs:   8 GPUs of 40 GB (64 pairs each make the batch of 512; with N GPUs set the batch size to 512 / N), 64 CPU
#          cores for decoding, data-bin/coco, visual-genome, sbu and cc3m, prepared as docs/data.md says, the first
#          one with RoBERTa's tokenizer (--tokenizer gpt2-bpe ...) and Visual Genome with --max-regions 7: about 0.57
#          + 0.76 + 0.86 + 2.95 million captions; weights/vit_base_patch16_224.pth (ImageNet weights of a ViT-B/16,
#          timm's or DeiT's) and weights/roberta.base/model.pt (fairseq's RoBERTa-base).
# Cost:    an estimate, this was not run: 256 million pairs of 385 GFLOP are 9.9e19 FLOP; at a sustained 125 TFLOP/s a
#          GPU (40 % of an A100's bfloat16 peak) 220 GPU hours, 27 hours on 8 GPUs, at 2,600 images/s: a loader that
#          keeps up needs the fast-jpeg extra.
# Rates:   warm-up of 5 epochs from 3e-5 to 3e-4, then a cosine to 3e-5; the encoders follow in proportion, from 1e-6
#          to 1e-5 and back. fairseq counts updates: epochs * captions / 512, and the log says how many captions each
#          data-bin has. Change --warmup-updates and --max-update before the run, not on resuming: both bend the whole
#          curve.
# Change:  options given to this script come last and win:  ... --weight-ema 0.9999 --checkpoint-activations all --seed 2
set -euo pipefail
cd "$(dirname "$0")/../.."
DATA=${DATA:-data-bin/coco:data-bin/visual-genome:data-bin/sbu:data-bin/cc3m}
WEIGHTS=${WEIGHTS:-weights}
OUT=${OUT:-runs/paper_4m}

fairseq-train "$DATA" --user-dir mvlm_plugin --task joint_masked_vl --arch mvlm_base --criterion joint_masked_vl \
    --image-encoder-weights "$WEIGHTS/vit_base_patch16_224.pth" --text-encoder-weights "$WEIGHTS/roberta.base/model.pt" \
    --dataset-weights 0.57,0.76,0.86,2.95 \
    --train-transform 'decode|random_resized_crop({size}, scale=0.5)|flip|randaugment(2, 7)' \
    --optimizer adamw_parts --lr 3e-4 --image-encoder-lr 1e-5 --text-encoder-lr 1e-5 --weight-decay 0.05 --clip-norm 1.0 \
    --lr-scheduler cosine --min-lr 3e-5 --warmup-updates 50000 --max-update 500000 \
    --autocast bf16 --batch-size 64 --num-workers 8 --seed 1 \
    --save-dir "$OUT/checkpoints" --no-epoch-checkpoints --save-interval-updates 10000 --keep-interval-updates 2 \
    --validate-interval-updates 10000 \
    --tensorboard-logdir "$OUT/tensorboard" --log-format json --log-interval 100 "$@"
