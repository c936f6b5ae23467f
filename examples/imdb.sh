#!/usr/bin/env bash
# Pre-train on film reviews, then classify sentiment with 1,000, 5,000 and 25,000 labels, compared with
# the same network from scratch and TF-IDF with logistic regression.
#
#   examples/imdb.sh [DATA]
#
# DATA: a folder with train.csv.gz and test.csv.gz (columns text, label), or hf:NAME with the splits
# train and test. WORK: output folder (default: runs/imdb).
# About 80 minutes on 2 CPU cores; LABELS="1000" does the first size only.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
data=${1:-hf:stanfordnlp/imdb:plain_text}
work=${WORK:-runs/imdb}

if [ -d "$data" ]; then
  train=$data/train.csv.gz test=$data/test.csv.gz
else
  train=$data:train test=$data:test
fi

elektron tokenizer "$train" --text text --lowercase true --vocab-size 8192 --out "$work/tokenizer"
elektron prepare "$train" --text text --tokenizer "$work/tokenizer" --out "$work/blocks" --seq-len 256
elektron pretrain --config quickstart --data "$work/blocks" --out "$work/pretraining" \
  --batch-size 8 --steps "${STEPS:-11000}" --evaluation.every 1000 --checkpoint.every 1000

# The epoch is selected on 2,000 held-out training reviews; the test reviews are scored once.
for labels in ${LABELS:-1000 5000 25000}; do
  seeds=1 epochs=2 scratch_epochs=2
  [ "$labels" != 1000 ] || seeds=3 epochs=4 scratch_epochs=5
  common=(--train "$train" --eval 0.08 --test "$test" --text text --label label
    --max-train "$labels" --seeds "$seeds" --max-length 400 --truncation head-tail --dropout 0.3)
  elektron finetune classification --model "$work/pretraining/discriminator" "${common[@]}" \
    --epochs $epochs --out "$work/pretrained-$labels"
  elektron finetune classification --model scratch:quickstart --tokenizer "$work/tokenizer" \
    "${common[@]}" --epochs $scratch_epochs --out "$work/scratch-$labels"
done
python examples/imdb_table.py "$train" "$test" "$work" ${LABELS:-1000 5000 25000}
