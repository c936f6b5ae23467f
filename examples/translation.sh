#!/usr/bin/env bash
# English captions into German: once with an encoder from random weights, once with one that has read
# English before, in as many steps and with the same vocabulary.
#
#   examples/translation.sh [DATA [CORPUS]]
#
# DATA: a folder with train.en, train.de, val.*, test_2016_flickr.*, or hf:NAME with columns en and de.
# CORPUS: more English to pre-train on, besides the captions, any that `elektron prepare` reads.
# WORK: where everything goes (default: runs/translation). PRETRAIN=no does the first half only.
set -euo pipefail
export PATH="$(cd "$(dirname "$0")/.." && pwd)/.venv/bin:$PATH"  # where `make` installs
data=${1:-hf:bentrevett/multi30k}
work=${WORK:-runs/translation}

if [ -d "$data" ]; then
  english=("$data/train.en" ${2:+"$2"})
  files=(--train "$data/train.en" "$data/train.de" --eval "$data/val.en" "$data/val.de"
    --test "$data/test_2016_flickr.en" "$data/test_2016_flickr.de")
else
  english=("$data" --text en)
  files=(--train "$data" --eval "$data::validation" --test "$data::test" --source en --target de)
fi

translate() {
  elektron finetune translation "${files[@]}" "$@" --target-vocab-size 6000 \
    --epochs "${EPOCHS:-8}"
}

elektron tokenizer "${english[@]}" --vocab-size 8000 --out "$work/tokenizer"
translate --model scratch:elektron-mini --tokenizer "$work/tokenizer" --out "$work/scratch"

if [ "${PRETRAIN:-yes}" = yes ]; then
  elektron prepare "${english[@]}" --tokenizer "$work/tokenizer" --out "$work/blocks" --seq-len 128
  elektron pretrain --config elektron-mini --data "$work/blocks" --out "$work/pretraining" \
    --steps "${STEPS:-2000}"
  translate --model "$work/pretraining/discriminator" --out "$work/pretrained"
fi

python - "$work" <<'PYTHON'
import json, pathlib, sys

for name in ("scratch", "pretrained"):
    path = pathlib.Path(sys.argv[1], name, "metrics.json")
    if path.exists():
        figures = json.loads(path.read_text())
        low, high = figures["intervals"]["bleu"]
        print(
            f"{name:10}  BLEU {figures['bleu']:.1f} ({low:.1f} … {high:.1f})"
            f"  chrF {figures['chrf']:.1f}  loss {figures['loss']:.3f}"
            f"  {figures['seconds'] / 60:.0f} minutes"
        )
PYTHON
