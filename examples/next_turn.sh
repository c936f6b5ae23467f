#!/usr/bin/env bash
# What is said next in a dialogue (DialogSum's dialogues), beside always the commonest turn.
#
#   examples/next_turn.sh [FOLDER]
#
# FOLDER holds dialogsum.train.jsonl.gz and dialogsum.dev.jsonl; without it the data comes from the hub.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"

DATA=${1:-hf:knkarthick/dialogsum}
WORK=${WORK:-runs/next-turn}
EPOCHS=${EPOCHS:-4}
ROWS=${ROWS:-40000}
PRECISION=${PRECISION:-$(grep -qsE 'avx512_bf16|amx_bf16' /proc/cpuinfo && echo bf16 || echo fp32)}

if [ -d "$DATA" ]; then
    TRAIN="$DATA/dialogsum.train.jsonl.gz" DEV="$DATA/dialogsum.dev.jsonl"
else
    TRAIN="$DATA" DEV="$DATA::validation"
fi

mkdir -p "$WORK"
python examples/next_turn.py "$TRAIN" "$WORK/train.jsonl" "$ROWS"
python examples/next_turn.py "$DEV" "$WORK/dev.jsonl" 1000
elektron finetune generation --model scratch:elektron-mini --train "$WORK/train.jsonl" --eval 0.02 \
    --test "$WORK/dev.jsonl" --out "$WORK/model" --epochs "$EPOCHS" \
    --target-vocab-size 6000 --precision "$PRECISION"

python - "$WORK/model" <<'PYTHON'
import json, pathlib, sys

folder = pathlib.Path(sys.argv[1])
model = json.loads((folder / "metrics.json").read_text())
constant = json.loads((folder / "details.json").read_text())["baseline"]
for name, figures in (("the model", model), (constant["name"], constant)):
    print(
        f"{name:24}  ROUGE-L {figures['rougeL']:.2f}  ROUGE-1 {figures['rouge1']:.2f}"
        f"  distinct outputs {figures['distinct_outputs']:.2f}"
    )
for line in (folder / "predictions.jsonl").read_text().splitlines()[:5]:
    row = json.loads(line)
    print("", row["source"], f"  was: {row['target']}", f"  is:  {row['text']}", sep="\n")
PYTHON
