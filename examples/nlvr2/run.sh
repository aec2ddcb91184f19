#!/usr/bin/env bash
# Launch:  bash examples/nlvr2/run.sh PRETRAINED STATEMENTS IMAGES
#          e.g. bash examples/nlvr2/run.sh runs/flickr8k_lite nlvr/dev.tsv nlvr
# Needs:   PRETRAINED with data-bin/ and checkpoints/checkpoint_last.pt, as examples/flickr8k_lite leaves it; STATEMENTS with
#          lines 'image TAB statement TAB label', an image being three boxes side by side; the extra `lite`; two CPU cores.
# Options: FOLD (1 to FOLDS, 3) is held out, by NLVR's number of a sentence and so by image; SEED; BLIND=1: the baseline
#          whose images are shuffled.
# Cost:    five minutes a run on one core.
# Result:  runs/nlvr2/foldF-seedS[-blind]: checkpoints, and accuracy on the held-out images in accuracy.json.
set -euo pipefail
USAGE="usage: run.sh PRETRAINED STATEMENTS IMAGES"
PRETRAINED=${1:?$USAGE}
STATEMENTS=${2:?$USAGE}
IMAGES=${3:?$USAGE}
FOLD=${FOLD:-1}
FOLDS=${FOLDS:-3}
SEED=${SEED:-1}
UPDATES=${UPDATES:-150}
OUT=${OUT:-runs/nlvr2}
HERE=$(dirname "$0")
PLUGIN=$HERE/../../mvlm_plugin
RUN=$OUT/fold$FOLD-seed$SEED${BLIND:+-blind}
DATA=$OUT/data-bin-fold$FOLD

python "$HERE/../split_by_image.py" "$STATEMENTS" "$OUT/splits-fold$FOLD.tsv" --group "(dev-[0-9]+)-" --folds "$FOLDS" --fold "$FOLD"
mvlm-prep tsv --captions "$STATEMENTS" --fields label --images "$IMAGES" --splits "$OUT/splits-fold$FOLD.tsv" \
    --tokenizer-from "$PRETRAINED/data-bin" --dest "$DATA"

fairseq-train "$DATA" --user-dir "$PLUGIN" --task vl_nlvr2 --arch mvlm_lite \
    --finetune-from-model "$PRETRAINED/checkpoints/checkpoint_last.pt" ${BLIND:+--shuffled-images} \
    --image-size 96 --frozen-image-stages 6 --frozen-text-layers 3 --image-parts 3 \
    --criterion vl_classification \
    --optimizer adamw_parts --lr 5e-4 --image-encoder-lr 1e-4 --text-encoder-lr 1e-4 --weight-decay 0.05 --clip-norm 1.0 \
    --lr-scheduler cosine --warmup-updates 20 --min-lr 1e-6 --max-update "$UPDATES" \
    --batch-size 64 --seed "$SEED" --cpu --num-workers 1 \
    --save-dir "$RUN" --no-epoch-checkpoints --disable-validation --log-format json --log-interval 10

mvlm-eval nlvr2 --path "$RUN/checkpoint_last.pt" --data "$DATA" --subset test --json "$RUN/accuracy.json" \
    --judgements "$RUN/judgements.csv"
