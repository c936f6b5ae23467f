#!/usr/bin/env bash
# Summaries of dialogues: an encoder pre-trained on the dialogues with a new decoder, compared with the
# first three turns, the two longest turns, and a constant summary.
#
#   examples/dialogsum.sh [DATA]
#
# DATA: a folder with dialogsum.train.jsonl.gz and dialogsum.dev.jsonl, or hf:NAME with columns dialogue
# and summary.
# WORK: output folder (default: runs/dialogsum). About 25 minutes on 2 CPU cores.
set -euo pipefail
export PATH="$(cd "$(dirname "$0")/.." && pwd)/.venv/bin:$PATH"  # where `make` installs
here=$(dirname "$0")
data=${1:-hf:knkarthick/dialogsum}
work=${WORK:-runs/dialogsum}

if [ -d "$data" ]; then
  train=$data/dialogsum.train.jsonl.gz dev=$data/dialogsum.dev.jsonl
else
  train=$data dev=$data::validation
fi

elektron tokenizer "$train" --text dialogue --vocab-size 8000 --out "$work/tokenizer"
elektron prepare "$train" --text dialogue --tokenizer "$work/tokenizer" --out "$work/blocks" \
  --seq-len 128
elektron pretrain --config elektron-mini --data "$work/blocks" --out "$work/pretraining" \
  --steps "${STEPS:-600}"
elektron finetune summarization --model "$work/pretraining/discriminator" --train "$train" \
  --eval 0.02 --test "$dev" --source dialogue --target summary --out "$work/model" \
  --epochs "${EPOCHS:-6}" --batch-size 16 --max-length 160 --decoder-layers 2 --target-vocab-size 4000
python "$here/dialogue_baselines.py" "$train" "$dev" "$work/model"
