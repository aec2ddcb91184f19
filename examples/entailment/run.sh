#!/usr/bin/env bash
# Launch:  bash examples/entailment/run.sh PRETRAINED PAIRS IMAGES
#          e.g. bash examples/entailment/run.sh runs/flickr8k_lite snli_ve/pairs.tsv flickr8k/images
# Needs:   PRETRAINED with data-bin/ and checkpoints/checkpoint_last.pt, as examples/flickr8k_lite leaves it; PAIRS with
#          lines 'image TAB hypothesis TAB label TAB explanation'; the extra `lite`; two CPU cores.
# Options: FOLD (1 to FOLDS, 3) is held out, by image; SEED; BLIND=1: the baseline whose images are shuffled.
# Cost:    five minutes a run on one core.
# Result:  runs/entailment/foldF-seedS[-blind]: checkpoints, and accuracy on the held-out images in accuracy.json.
set -euo pipefail
USAGE="usage: run.sh PRETRAINED PAIRS IMAGES"
PRETRAINED=${1:?$USAGE}
PAIRS=${2:?$USAGE}
IMAGES=${3:?$USAGE}
FOLD=${FOLD:-1}
FOLDS=${FOLDS:-3}
SEED=${SEED:-1}
UPDATES=${UPDATES:-100}
OUT=${OUT:-runs/entailment}
HERE=$(dirname "$0")
PLUGIN=$HERE/../../mvlm_plugin
RUN=$OUT/fold$FOLD-seed$SEED${BLIND:+-blind}
DATA=$OUT/data-bin-fold$FOLD

python "$HERE/../split_by_image.py" "$PAIRS" "$OUT/splits-fold$FOLD.tsv" --folds "$FOLDS" --fold "$FOLD"
mvlm-prep tsv --captions "$PAIRS" --fields label,explanation --images "$IMAGES" --splits "$OUT/splits-fold$FOLD.tsv" \
    --tokenizer-from "$PRETRAINED/data-bin" --dest "$DATA"

fairseq-train "$DATA" --user-dir "$PLUGIN" --task vl_entailment --arch mvlm_lite \
    --finetune-from-model "$PRETRAINED/checkpoints/checkpoint_last.pt" ${BLIND:+--shuffled-images} \
    --frozen-image-stages 9 --frozen-text-layers 3 --texts-per-image 8 \
    --criterion vl_classification \
    --optimizer adamw_parts --lr 2e-4 --text-encoder-lr 5e-5 --weight-decay 0.05 --clip-norm 1.0 \
    --lr-scheduler cosine --warmup-updates 20 --min-lr 1e-6 --max-update "$UPDATES" \
    --batch-size 64 --seed "$SEED" --cpu --num-workers 1 \
    --save-dir "$RUN" --no-epoch-checkpoints --disable-validation --log-format json --log-interval 10

mvlm-eval entailment --path "$RUN/checkpoint_last.pt" --data "$DATA" --subset test --json "$RUN/accuracy.json" \
    --judgements "$RUN/judgements.csv"
