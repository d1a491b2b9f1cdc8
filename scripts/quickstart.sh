#!/usr/bin/env bash
# Installs, trains a generator of digits and scores its checkpoints: minutes on two CPU cores.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
python train.py --config configs/digits.py --workdir runs/digits
python evaluate.py --workdir runs/digits --checkpoints all --skip_existing
echo
echo "samples:            $PWD/runs/digits/samples/"
echo "scores:             $PWD/runs/digits/eval/fid_metrics.csv"
echo "Frechet distance:   $PWD/runs/digits/eval/fid_vs_step.png"
echo "next:               source .venv/bin/activate; tensorboard --logdir runs"
