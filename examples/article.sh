#!/usr/bin/env bash
# The article's pipeline in its order: initialise Teacher and Student, train the Teacher on a corpus, train
# the Student on the Teacher's output, update both alternately, fine-tune on IMDB film reviews, evaluate.
# docs/article.md compares it with the paper.
#
#   examples/article.sh [DATA]
#
# DATA: a folder with train.csv.gz and test.csv.gz (columns text, label), or hf:NAME with the splits
# train and test. WORK: output folder (default: runs/article).
# STEPS (default: 2400): steps of the two stages together; the alternating stage has a third as many.
# LABELS (default: 1000), EPOCHS (default: 4): rows and epochs of fine-tuning.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
data=${1:-hf:stanfordnlp/imdb:plain_text}
work=${WORK:-runs/article}
steps=${STEPS:-2400}

if [ -d "$data" ]; then
  train=$data/train.csv.gz test=$data/test.csv.gz
else
  train=$data:train test=$data:test
fi

echo "0 · 数据预处理 (data preprocessing): a WordPiece vocabulary, and rows of token ids"
elektron tokenizer "$train" --text text --lowercase true --vocab-size 8192 --out "$work/tokenizer"
elektron prepare "$train" --text text --tokenizer "$work/tokenizer" --out "$work/blocks" --seq-len 128

# Three steps of the article in one command.
echo "1 · 初始化模型 (initialise Teacher and Student): generator and discriminator, random weights, one size"
echo "2 · 微调预训练 (train the Teacher on the corpus): the generator alone, masked language modelling"
echo "3 · 自监督预训练 (train the Student on the Teacher's output): the generator's weights copied, then" \
  "replaced-token detection against the frozen generator"
elektron pretrain --config article --data "$work/blocks" --out "$work/two-stages" \
  --steps "$steps"

# Embeddings stay separate, as in the two stages. A third of the recipe's learning rates, because both
# networks are trained already. Another seed, for other rows and masks than the Teacher's first ones.
echo "4 · 交替进行更新 (update Teacher and Student alternately, to maximise their similarity): a step each;" \
  "the discriminator also learns the generator's distribution at masked positions (not in the paper)"
elektron pretrain --config article --data "$work/blocks" --out "$work/in-turn" \
  --steps $((steps / 3)) --seed 2 \
  --init-from "$work/two-stages/discriminator,$work/two-stages/generator" --sharing none \
  --plan alternating --plan-options.similarity 1 --optimizer.learning-rate 1e-3 --optimizer.muon-learning-rate 0.01

# The epoch is selected on a part of the training reviews; the metrics here are of it. The "conventional
# Transformer" that the article compares with is the same network from random weights.
echo "5 · 微调 (fine-tune on film reviews): the discriminator alone, and the same network from scratch"
common=(--train "$train" --eval 0.08 --text text --label label
  --max-train "${LABELS:-1000}" --epochs "${EPOCHS:-4}" --max-length 256 --truncation head-tail --dropout 0.3)
elektron finetune classification --model "$work/in-turn/discriminator" "${common[@]}" --out "$work/student"
elektron finetune classification --model scratch:article --tokenizer "$work/tokenizer" "${common[@]}" \
  --out "$work/scratch"

echo "6 · 模型评估 (evaluate): on the test reviews, once"
for model in student scratch; do
  echo "$model:"
  elektron evaluate "$work/$model" "$test" --text text --label label --out "$work/$model-on-test"
done
