#!/usr/bin/env bash
# Shards of one plan as a SLURM array: one GPU and one server each, no Ray, no shared state but the output folder.
#
#   sbatch docs/cluster/slurm_array.sh plan.yaml /scratch/run        # 1. make the shards
#   defectforge merge /scratch/run/whole /scratch/run/shard-*        # 2. join them, when all have ended
#
# A task that was cancelled, timed out or lost its node goes on where it stopped when it is submitted again:
#   sbatch --array=7,19 docs/cluster/slurm_array.sh plan.yaml /scratch/run
#SBATCH --job-name=defectforge
#SBATCH --array=1-16
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --mem=24G
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
#SBATCH --output=%x-%A_%a.log
set -euo pipefail

plan=${1:?"usage: sbatch $0 PLAN.yaml OUT"}
out=${2:?"usage: sbatch $0 PLAN.yaml OUT"}
# How many parts the plan has is fixed once: an array that is submitted again for two tasks must not cut it anew.
parts=${DEFECTFORGE_PARTS:-16}
part=${SLURM_ARRAY_TASK_ID:?"this runs as a SLURM array"}

# SLURM asks the script to end a minute before the time is over; the runner then finishes its job and says so.
defectforge run --plan "$plan" --shard "$part/$parts" --out "$out/shard-$part" ${DEFECTFORGE_ARGS:-} &
runner=$!
trap 'kill -TERM "$runner"' TERM
code=0
wait "$runner" || code=$?
if kill -0 "$runner" 2>/dev/null; then  # `wait` was left by the signal, not by the runner's end
    code=0
    wait "$runner" || code=$?
fi
exit "$code"
