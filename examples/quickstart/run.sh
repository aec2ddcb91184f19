#!/usr/bin/env bash
# Launch:  make quickstart        (or, with mvlm-plugin installed:  bash examples/quickstart/run.sh)
# Needs:   two CPU cores, 3 GB of memory, no data: the pictures are generated.
# Cost:    about 6 minutes.
# Result:  runs/quickstart/reconstructions.png and a table of what the model can do on unseen scenes.
# Change:  UPDATES=300 bash examples/quickstart/run.sh   for a shorter look.
set -euo pipefail
cd "$(dirname "$0")/../.."
OUT=${OUT:-runs/quickstart}
UPDATES=${UPDATES:-1500}
PAIRS=${PAIRS:-16000}
mkdir -p "$OUT"
rm -rf "$OUT/checkpoints" "$OUT/tensorboard"

echo "1/4  preparing $PAIRS generated scenes"
mvlm-prep scenes --dest "$OUT/data-bin" --pairs "$PAIRS" --seed 1

echo "2/4  training for $UPDATES updates of 32 pairs (log: $OUT/train.log)"
fairseq-train "$OUT/data-bin" --user-dir mvlm_plugin --task joint_masked_vl --arch mvlm_tiny \
    --criterion joint_masked_vl --optimizer adam --adam-betas "(0.9, 0.98)" --weight-decay 0.01 --clip-norm 1.0 \
    --lr 1e-3 --lr-scheduler polynomial_decay --warmup-updates 30 --total-num-update "$UPDATES" \
    --batch-size 32 --max-update "$UPDATES" --seed 1 --cpu --num-workers 1 \
    --save-dir "$OUT/checkpoints" --no-epoch-checkpoints --disable-validation \
    --tensorboard-logdir "$OUT/tensorboard" --log-format json --log-interval 25 --log-file "$OUT/train.log" \
    2>&1 | python examples/quickstart/progress.py --updates "$UPDATES"

echo "3/4  validating on unseen scenes"
fairseq-validate "$OUT/data-bin" --user-dir mvlm_plugin --task joint_masked_vl \
    --path "$OUT/checkpoints/checkpoint_last.pt" --valid-subset test --batch-size 64 --cpu --log-format json \
    > "$OUT/validate.log" 2>&1 || { tail -n 20 "$OUT/validate.log"; exit 1; }

echo "4/4  drawing"
mvlm-reconstruct --path "$OUT/checkpoints/checkpoint_last.pt" --data "$OUT/data-bin" --subset test \
    --out "$OUT/reconstructions.png"

python examples/quickstart/table.py "$OUT/validate.log"
echo "pictures: $OUT/reconstructions.png    curves: tensorboard --logdir $OUT/tensorboard"
