#!/usr/bin/env bash
# Named entities in Chinese résumés: entity F1 with an encoder pre-trained on Chinese Wikipedia,
# and with the same network from scratch.
#
#   examples/ner.sh [DATA [CORPUS]]
#
# DATA: a folder with train.char.bmes and dev.char.bmes, or hf:NAME with a train and a validation split.
# CORPUS: text to pre-train on, in any form that `elektron prepare` reads.
# WORK: output folder (default: runs/ner). About 17 minutes on one CPU core with a corpus of some MB; the default corpus
# has GBs.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
data=${1:-hf:PassbyGrocer/resume-ner}
corpus=${2:-hf:wikimedia/wikipedia:20231101.zh}
work=${WORK:-runs/ner}

if [ -d "$data" ]; then
  train=$data/train.char.bmes test=$data/dev.char.bmes
else
  train=$data::train test=$data::validation
fi

elektron tokenizer "$corpus" --out "$work/tokenizer" --vocab-size 8192 --max-documents 20000
elektron prepare "$corpus" --tokenizer "$work/tokenizer" --out "$work/blocks" --seq-len 128
elektron pretrain --config quickstart --data "$work/blocks" --out "$work/pretraining" \
  --batch-size 16 --steps "${STEPS:-2500}"
# The epoch is selected on a tenth of the training rows; dev is scored once.
tag() {
  elektron finetune token-classification "$@" --epochs 15 \
    --train "$train" --eval 0.1 --test "$test"
}
tag --model "$work/pretraining/discriminator" --learning-rate 3e-3 --out "$work/model"
tag --model scratch:quickstart --tokenizer "$work/tokenizer" --learning-rate 3e-3 --out "$work/scratch"
echo "小明毕业于北京大学，现任中国银行行长。" | elektron predict "$work/model"
