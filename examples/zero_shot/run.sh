#!/usr/bin/env bash
# Launch:  bash examples/zero_shot/run.sh
# Needs:   two CPU cores, 3 GB of memory, no data: the pictures are generated.
# Cost:    2 minutes with the checkpoint of examples/grounding/run.sh, which is run first where it has not been.
# Result:  runs/grounding/zero_shot_itc.json and runs/grounding/zero_shot_itm.json.
# Change:  CHECKPOINT=runs/quickstart/checkpoints/checkpoint_last.pt DATA=runs/quickstart/data-bin \
#          bash examples/zero_shot/run.sh   for another model of scenes.
set -euo pipefail
OUT=${OUT:-runs/grounding}
CHECKPOINT=${CHECKPOINT:-$OUT/checkpoints/checkpoint_last.pt}
DATA=${DATA:-$OUT/scenes}
[ -f "$CHECKPOINT" ] || OUT=$OUT bash "$(dirname "$0")/../grounding/run.sh"

for SCORE in itc itm; do
    mvlm-eval zero-shot --path "$CHECKPOINT" --data "$DATA" --subset test --score "$SCORE" --batch-size 512 \
        --json "$OUT/zero_shot_$SCORE.json"
done
