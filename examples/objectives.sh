#!/usr/bin/env bash
# The comparisons of docs/evidence/objectives.md: objectives, plans, sharing and the recipe extreme, each
# variant pre-trained with the same number of floating-point operations and fine-tuned on three tasks.
#
#   examples/objectives.sh DATA [objectives|plans|sharing|extreme …]
#
# DATA: a folder with enwiki/, sst2/, mrpc/ and sts-b/. Without names: all four comparisons.
# WORK: output folder (default: runs/objectives). SEEDS, BUDGET: larger values for a GPU.
set -euo pipefail
export PATH="$(cd "$(dirname "$0")/.." && pwd)/.venv/bin:$PATH"  # where `make` installs
recipes=$(cd "$(dirname "$0")/../recipes" && pwd)
data=${1:?the folder with enwiki/, sst2/, mrpc/ and sts-b/}
shift
work=${WORK:-runs/objectives}

if [ ! -d "$work/blocks" ]; then
  elektron tokenizer "$data/enwiki/train.txt.gz" --lowercase true --vocab-size 8192 --out "$work/tokenizer"
  elektron prepare "$data/enwiki/train.txt.gz" --tokenizer "$work/tokenizer" --out "$work/blocks" --seq-len 64
fi

# The probes; $1 is the number of training rows of mrpc (at most 4,076), whose pairs are long.
probes() {
  echo "classification --train $data/sst2/train.tsv --eval $data/sst2/dev.tsv --max-train 5000 --epochs 2" \
    "--max-length 64"
  echo "mrpc=classification --train $data/mrpc/msr_paraphrase_train.txt --eval" \
    "$data/mrpc/msr_paraphrase_test.txt --text '#1 String' --pair '#2 String' --label Quality" \
    "--max-train $1 --epochs 3 --max-length 128"
  echo "sts-b=regression --train $data/sts-b/sts-train.tsv --eval $data/sts-b/sts-dev.tsv" \
    "--text 6 --pair 7 --label 5 --epochs 3 --max-length 64"
}

# Evaluation and checkpoints during pre-training are not needed here.
compare() { # NAME BUDGET PROBES MRPC_ROWS --sweep …
  local lines
  mapfile -t lines < <(probes "$4")
  elektron compare --data "$work/blocks" --out "$work/$1" --budget "${BUDGET:-$2}" \
    --seeds "${SEEDS:-2}" --probe "${lines[@]::$3}" "${@:5}" \
    evaluation.every=100000 checkpoint.every=100000
}

# A variant: recipe quickstart with a few other settings.
variant() { # NAME SETTING …
  mkdir -p "$work/variants"
  { cat "$recipes/quickstart.yaml" && printf '%s\n' "${@:2}"; } >"$work/variants/$1.yaml"
  variants+=("$work/variants/$1.yaml")
}
all_variants() { (IFS=, && echo "config=${variants[*]}"); }

[ $# -gt 0 ] || set -- objectives plans sharing extreme
for comparison in "$@"; do
  variants=()
  case $comparison in
    objectives)
      compare objectives 1.2e13flops 3 4076 --config quickstart \
        --sweep objective=rtd,all_tokens_mlm,replace_mlm,electra_15,mlm,corrective
      ;;
    plans)
      # The generator's own training is not part of its student's budget.
      elektron pretrain --config quickstart --data "$work/blocks" --out "$work/generator" \
        --flops 6e12 --seed 99
      variant joint "plan: joint"
      variant two_stage "plan: two_stage"
      sed 's/generator_layers: .*/generator_layers: 4/' "$work/variants/two_stage.yaml" \
        >"$work/variants/two_stage_same_size.yaml"
      variants+=("$work/variants/two_stage_same_size.yaml")
      variant alternating_similarity "plan: alternating" "plan_options: {similarity: 1.0}"
      variant adversarial "plan: adversarial"
      variant frozen_generator "plan: frozen_generator" "plan_options: {generator: $work/generator}"
      compare plans 6e12flops 3 2000 --sweep "$(all_variants)"
      ;;
    sharing)
      # A generator as large as the discriminator, as in the paper's comparison.
      compare sharing 6e12flops 3 2000 --config quickstart --sweep sharing=none,embeddings,gdes,all \
        network.generator_width=1 network.generator_layers=4
      ;;
    extreme)
      compare extreme 1.5e13flops 1 0 --sweep config=electra-small,extreme batch_size=32 \
        optimizer.warmup=0.05
      ;;
    *)
      echo "unknown comparison: $comparison" >&2
      exit 2
      ;;
  esac
done
