#!/usr/bin/env bash
# Questions about a passage (SQuAD 2.0), and questions about a whole corpus.
#
#   examples/question_answering.sh [DATA [CORPUS]]
#
# DATA: a folder with train.json and dev.json, or hf:NAME with a train and a validation split.
# CORPUS: text to pre-train on and to search for answers, in any form that `elektron prepare` reads.
# WORK: output folder (default: runs/question_answering).
set -euo pipefail
export PATH="$(cd "$(dirname "$0")/.." && pwd)/.venv/bin:$PATH"  # where `make` installs
here=$(dirname "$0")
data=${1:-hf:rajpurkar/squad_v2}
corpus=${2:-hf:Salesforce/wikitext:wikitext-2-raw-v1}
work=${WORK:-runs/question_answering}

if [ -d "$data" ]; then
  train=$data/train.json dev=$data/dev.json
else
  train=$data::train dev=$data::validation
fi

# The passages of the training questions are part of the corpus.
mkdir -p "$work"
python "$here/squad_files.py" "$train" "$work"
passages=$work/passages.txt
elektron tokenizer "$corpus" "$passages" --lowercase true --vocab-size 8192 --out "$work/tokenizer"
elektron prepare "$corpus" "$passages" --tokenizer "$work/tokenizer" --seq-len 256 --out "$work/blocks"
elektron pretrain --config quickstart --data "$work/blocks" --out "$work/pretraining" \
  --batch-size 8 --steps "${STEPS:-4000}"

# Memorise 200 questions, to check the pipeline.
elektron finetune question-answering --model "$work/pretraining" \
  --train "$work/200.jsonl" --eval "$work/200.jsonl" --out "$work/by-heart" --max-length 256 \
  --epochs 25 --batch-size 16 --learning-rate 5e-3 --dropout 0 --keep last
elektron evaluate "$work/by-heart" "$work/200.jsonl"

# Questions about unseen passages, half of them without an answer. A tenth of the training questions
# selects the epoch and the threshold of "no answer". So small a network answers hardly any of them.
elektron finetune question-answering --model "$work/pretraining" \
  --train "$train" --max-train 4000 --eval 0.1 --test "$dev" --out "$work/model" --max-length 256 \
  --epochs 4
elektron evaluate "$work/model" "$dev"

# The 200 questions without their passages, which are retrieved from the corpus.
elektron predict "$work/by-heart" --input "$work/questions.txt" --output "$work/answers.jsonl" \
  --documents "$corpus" "$passages" --passages 10
python "$here/squad_files.py" --score "$work/200.jsonl" "$work/answers.jsonl"
