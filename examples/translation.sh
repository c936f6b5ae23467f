#!/usr/bin/env bash
# English into German (Multi30k, 29,000 captions): once with an encoder from random weights, once with
# one that has read English before, in as many steps and with the same vocabulary.
#
#   examples/translation.sh [FOLDER]
#
# FOLDER holds train.en, train.de, val.* and test_2016_flickr.*; without it the data comes from the
# hub. TEXT=FILE is more English to pre-train on, besides the captions; PRETRAIN=0 leaves out the
# second half.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"

DATA=${1:-hf:bentrevett/multi30k}
WORK=${WORK:-runs/translation}
TEXT=${TEXT:-}
PRETRAIN=${PRETRAIN:-1}
EPOCHS=${EPOCHS:-10}
STEPS=${STEPS:-2500}
# Processors that multiply bfloat16 take half the time for the same BLEU.
PRECISION=${PRECISION:-$(grep -qsE 'avx512_bf16|amx_bf16' /proc/cpuinfo && echo bf16 || echo fp32)}

if [ -d "$DATA" ]; then
    CAPTIONS="$DATA/train.en"
    FILES=(--train "$DATA/train.en" "$DATA/train.de" --eval "$DATA/val.en" "$DATA/val.de"
        --test "$DATA/test_2016_flickr.en" "$DATA/test_2016_flickr.de")
else
    CAPTIONS="$DATA"
    FILES=(--train "$DATA" --eval "$DATA::validation" --test "$DATA::test" --source en --target de)
fi
ENGLISH=("$CAPTIONS")
[ -z "$TEXT" ] || ENGLISH+=("$TEXT")
COLUMN=()
[ -d "$DATA" ] || COLUMN=(--text en)

mkdir -p "$WORK"
elektron tokenizer "${ENGLISH[@]}" "${COLUMN[@]}" --vocab-size 8000 --out "$WORK/tokenizer"

translate() { # MODEL OUT
    elektron finetune translation --model "$1" --out "$2" "${FILES[@]}" "${@:3}" \
        --epochs "$EPOCHS" --target-vocab-size 6000 --precision "$PRECISION"
}

translate scratch:elektron-mini "$WORK/scratch" --tokenizer "$WORK/tokenizer"

if [ "$PRETRAIN" != 0 ]; then
    elektron prepare "${ENGLISH[@]}" "${COLUMN[@]}" --tokenizer "$WORK/tokenizer" \
        --seq-len 128 --out "$WORK/blocks"
    elektron pretrain --config elektron-mini --data "$WORK/blocks" --out "$WORK/encoder" \
        --steps "$STEPS" --precision "$PRECISION"
    translate "$WORK/encoder" "$WORK/pretrained"
fi

python - "$WORK" <<'PYTHON'
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
