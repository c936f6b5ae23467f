#!/usr/bin/env bash
# Generate the next turn of a dialogue, compared with the most frequent turn.
#
#   examples/next_turn.sh [DATA]
#
# DATA: a folder with dialogsum.train.jsonl.gz and dialogsum.dev.jsonl, or hf:NAME with a column dialogue.
# WORK: output folder (default: runs/next-turn). ROWS (default: 40000): training turns.
set -euo pipefail
export PATH="$(cd "$(dirname "$0")/.." && pwd)/.venv/bin:$PATH"  # where `make` installs
here=$(dirname "$0")
data=${1:-hf:knkarthick/dialogsum}
work=${WORK:-runs/next-turn}

if [ -d "$data" ]; then
  train=$data/dialogsum.train.jsonl.gz dev=$data/dialogsum.dev.jsonl
else
  train=$data dev=$data::validation
fi

mkdir -p "$work"
python "$here/next_turn.py" "$train" "$work/train.jsonl" "${ROWS:-40000}"
python "$here/next_turn.py" "$dev" "$work/dev.jsonl" 1000
elektron finetune generation --model scratch:elektron-mini --train "$work/train.jsonl" --eval 0.02 \
  --test "$work/dev.jsonl" --out "$work/model" --epochs "${EPOCHS:-3}" --target-vocab-size 6000

python - "$work/model" <<'PYTHON'
import json, pathlib, sys

folder = pathlib.Path(sys.argv[1])
model = json.loads((folder / "metrics.json").read_text())
baselines = [(baseline["name"], baseline["metrics"]) for baseline in model["baselines"]]
for name, metrics in [("model", model), *baselines]:
    print(
        f"{name:24}  ROUGE-L {metrics['rougeL']:.2f}  ROUGE-1 {metrics['rouge1']:.2f}"
        f"  distinct outputs {metrics['distinct_outputs']:.2f}"
    )
for line in (folder / "predictions.jsonl").read_text().splitlines()[:5]:
    row = json.loads(line)
    print("", row["source"], f"  target:    {row['target']}", f"  predicted: {row['predicted_text']}", sep="\n")
PYTHON
