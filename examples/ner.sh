#!/usr/bin/env bash
# Named entities in Chinese résumés: entity F1 with an encoder pre-trained on Chinese Wikipedia,
# and with the same network from scratch.
#
#   examples/ner.sh [DATA [CORPUS]]
#
# DATA: a folder with train.char.bmes and dev.char.bmes, or hf:NAME with a train and a validation split.
# CORPUS: text to pre-train on, any that `elektron prepare` reads.
# WORK: where everything goes (default: runs/ner). About 12 minutes on 2 CPU cores.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
data=${1:-hf:PassbyGrocer/resume-ner}
corpus=${2:-hf:wikimedia/wikipedia:20231101.zh}
work=${WORK:-runs/ner}
# Processors that multiply bfloat16 take about half the time.
precision=$(grep -qsE 'avx512_bf16|amx_bf16' /proc/cpuinfo && echo bf16 || echo fp32)

if [ -d "$data" ]; then
  train=$data/train.char.bmes test=$data/dev.char.bmes
else
  train=$data::train test=$data::validation
fi

elektron tokenizer "$corpus" --out "$work/tokenizer" --vocab-size 8192 --max-documents 20000
elektron prepare "$corpus" --tokenizer "$work/tokenizer" --out "$work/blocks" --seq-len 128
elektron pretrain --config quickstart --data "$work/blocks" --out "$work/pretraining" \
  --batch 16 --steps "${STEPS:-2500}" --precision "$precision"
# The last tenth of the training rows is for choosing the epoch; dev is scored once.
elektron finetune token-classification --model "$work/pretraining/discriminator" --against scratch \
  --precision "$precision" --epochs 15 --train "$train" --eval 0.1 --test "$test" --out "$work/model"
echo "小明 毕 业 于 北 京 大 学 ， 现 任 中 国 银 行 行 长 。" | elektron predict "$work/model"
