#!/usr/bin/env bash
# Summaries of dialogues (DialogSum, 12,460 dialogues): an encoder that first reads the dialogues, then a
# decoder on it, beside summaries that no model wrote.
#
#   examples/dialogsum.sh [FOLDER]
#
# FOLDER holds dialogsum.train.jsonl.gz and dialogsum.dev.jsonl; without it the data comes from the hub.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"

DATA=${1:-hf:knkarthick/dialogsum}
WORK=${WORK:-runs/dialogsum}
EPOCHS=${EPOCHS:-6}
STEPS=${STEPS:-1500}
PRECISION=${PRECISION:-$(grep -qsE 'avx512_bf16|amx_bf16' /proc/cpuinfo && echo bf16 || echo fp32)}

if [ -d "$DATA" ]; then
    TRAIN="$DATA/dialogsum.train.jsonl.gz" DEV="$DATA/dialogsum.dev.jsonl"
else
    TRAIN="$DATA" DEV="$DATA::validation"
fi

mkdir -p "$WORK"
elektron tokenizer "$TRAIN" --text dialogue --vocab-size 8000 --out "$WORK/tokenizer"
elektron prepare "$TRAIN" --text dialogue --tokenizer "$WORK/tokenizer" --seq-len 128 \
    --out "$WORK/blocks"
elektron pretrain --config elektron-mini --data "$WORK/blocks" --out "$WORK/encoder" \
    --steps "$STEPS" --precision "$PRECISION"
elektron finetune summarization --model "$WORK/encoder" --train "$TRAIN" --eval 0.02 --test "$DEV" \
    --source dialogue --target summary --out "$WORK/model" --epochs "$EPOCHS" --batch 32 \
    --target-vocab-size 6000 --precision "$PRECISION"
python examples/dialogue_baselines.py "$TRAIN" "$DEV" "$WORK/model"
