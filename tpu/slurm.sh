#!/usr/bin/env bash
# The same job on GPUs under SLURM: one process a GPU, of as many nodes as asked for.
#
#   sbatch --nodes 2 tpu/slurm.sh experiments/factbook.py /shared/runs/mine [options]
#
# The batch of each stage must be a multiple of the GPUs (docs/operations.md): of 16, with the Factbook,
#   --warm_up.batch_size 16 --pretrain.batch_size 16 --finetune.batch_size 16
#
# The workdir lies in a file system that all nodes share. Sent SIGTERM before its time is up, the job saves nothing
# more and is put in the queue again, to go on from its last checkpoint.
#SBATCH --job-name=realm
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --open-mode=append
set -euo pipefail

config=$1 workdir=$2
shift 2
coordinator=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):8476
srun --kill-on-bad-exit=0 .venv/bin/realm run "$config" --workdir "$workdir" --index.refresh inline \
  --coordinator "$coordinator" "$@" || {
  code=$?
  # 143: stopped by SIGTERM; 75: another process was.
  if [ $code = 143 ] || [ $code = 75 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
  exit $code
}
