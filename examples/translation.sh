#!/usr/bin/env bash
# Translate English captions into German, with an encoder from random weights and with a pre-trained one,
# in the same number of steps and with the same vocabulary.
#
#   examples/translation.sh [DATA [CORPUS]]
#
# DATA: a folder with train.en, train.de, val.*, test_2016_flickr.*, or hf:NAME with columns en and de.
# CORPUS: more English text to pre-train on, in any form that `elektron prepare` reads.
# WORK: output folder (default: runs/translation). PRETRAIN=no: only from random weights.
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
        metrics = json.loads(path.read_text())
        low, high = metrics["intervals"]["bleu"]
        print(
            f"{name:10}  BLEU {metrics['bleu']:.1f} ({low:.1f} … {high:.1f})"
            f"  chrF {metrics['chrf']:.1f}  loss {metrics['loss']:.3f}"
            f"  {metrics['seconds'] / 60:.0f} minutes"
        )
PYTHON
