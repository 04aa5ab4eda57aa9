#!/usr/bin/env bash
# What every worker of a slice does. The launcher calls it over SSH, one line after the other:
#
#   bash start.sh setup     download the source, install what it needs (again only when that has changed)
#   bash start.sh start     run the job in the background, whose output goes to `log`
#   bash start.sh status    one line: is it running, how did it end
#   bash start.sh stop      stop the job; its last checkpoint stays
#
# with these variables:
#
#   JOB          NAME-trainer or NAME-builder: the folder ~/realm/JOB on each worker
#   SOURCE       gs://.../COMMIT.tar.gz
#   WORKDIR      gs://.../NAME, which all workers of all slices share
#   ARGUMENTS    of `realm`, quoted as for a shell
#   COORDINATOR  HOST:PORT of worker 0
#   PROCESSES    number of workers
#   DEADLINE     seconds since 1970: the job ends then, and the slice is deleted
#   DELETE       command that deletes the slice, run until it succeeds; empty where it is not ours to delete
#
# TPU_WORKER_ID, if set (as on GKE), is this worker's number, which else the metadata server tells. REALM_PYTHON, if
# set, is a Python with everything installed: nothing is then. RETRY_S: seconds before a failed job is started again; the lock of a
# worker that was killed lasts 60 (realm_jax/remote.py).
set -euo pipefail

home=$HOME/realm/$JOB
mkdir -p "$home"
cd "$home"

worker() {
  if [ -n "${TPU_WORKER_ID:-}" ]; then
    echo "$TPU_WORKER_ID"
  elif [ "${PROCESSES:-}" = 1 ]; then
    echo 0
  else
    curl -sSf --max-time 30 -H 'Metadata-Flavor: Google' \
      http://metadata.google.internal/computeMetadata/v1/instance/attributes/agent-worker-number
  fi
}

is_running() { [ -e pid ] && kill -0 "$(cat pid)" 2>/dev/null; }

left() { echo $((DEADLINE - $(date +%s))); }

setup() {
  if is_running; then
    echo "start.sh: $JOB is running on $(hostname) already (process $(cat pid)); stop it first" >&2
    exit 3
  fi
  gcloud storage cp "$SOURCE" source.tar.gz
  rm -rf source && mkdir source && tar -xzf source.tar.gz -C source
  if [ -z "${REALM_PYTHON:-}" ] && ! cmp -s source/tpu/requirements.txt venv/installed; then
    # The Python of a TPU VM is older than ours.
    python3 -m pip install --quiet --user uv
    rm -rf venv
    python3 -m uv venv --quiet --python 3.12 venv
    python3 -m uv pip install --quiet --python venv/bin/python -r source/tpu/requirements.txt
    cp source/tpu/requirements.txt venv/installed
  fi
}

start() {
  # One that has ended waits for the deadline, to delete the slice; the new one does that from now on.
  if [ -e session ]; then kill -- "-$(cat session)" 2>/dev/null || true; fi
  rm -f exit pid stopped
  setsid nohup bash "$0" run </dev/null >>log 2>&1 &
  echo $! >session
}

# Runs the job once, as worker $1; returns its exit code.
job() {
  local arguments
  eval "arguments=($ARGUMENTS)"
  arguments+=(--workdir "$WORKDIR")
  if [ "$PROCESSES" -gt 1 ]; then
    arguments+=(--coordinator "$COORDINATOR" --process_count "$PROCESSES" --process_id "$1")
  fi
  echo "start.sh: worker $1 of $PROCESSES: realm ${arguments[*]}"
  timeout --signal=TERM --kill-after=120 "$(($(left) > 1 ? $(left) : 1))" \
    "${REALM_PYTHON:-../venv/bin/python}" -m realm_jax "${arguments[@]}" &
  echo $! >../pid
  # `stop` saw the process before, if it came just now.
  if [ -e ../stopped ]; then kill -TERM $! 2>/dev/null || true; fi
  wait $!
}

# In the background, in a session of its own.
run() {
  local id code begun
  cd source
  while true; do
    begun=$SECONDS
    code=0
    if id=$(worker); then
      job "$id" || code=$?
    else
      id=unknown code=1
      echo "start.sh: this worker cannot learn its number, see above"
    fi
    echo "start.sh: worker $id: exit code $code"
    case $code in 0 | 130 | 143) break ;; esac
    if [ -e ../stopped ]; then break; fi
    if [ "$(left)" -le 0 ]; then break; fi
    # A mistake shows at once and would again; what comes later may be another worker's end, and passes.
    if [ $code = 2 ] && [ $((SECONDS - begun)) -lt 120 ]; then break; fi
    sleep "${RETRY_S:-75}"
    if [ -e ../stopped ]; then break; fi
  done
  cd ..
  echo $code >exit
  timeout --foreground 300 gcloud storage cp log "$WORKDIR/logs/$JOB-$id-$DEADLINE.log" || true
  # One that does not know its number may be worker 0.
  if [ "$id" = 0 ] || [ "$id" = unknown ]; then
    echo $code >ended
    timeout --foreground 300 gcloud storage cp ended "$WORKDIR/launch/$JOB-$DEADLINE.ended" || true
    # After a failure the slice stays to be looked at, until the deadline.
    while [ $code != 0 ] && [ "$(left)" -gt 0 ]; do sleep "$(($(left) < 60 ? $(left) : 60))"; done
    if [ -n "$DELETE" ]; then until eval "timeout --foreground 600 $DELETE"; do sleep "${RETRY_S:-75}"; done; fi
  fi
}

status() {
  if is_running; then
    echo "worker $(worker): running; $(tail -n 1 log)"
  elif [ -e exit ]; then
    echo "worker $(worker): ended with exit code $(cat exit)"
  else
    echo "worker $(worker): not running"
  fi
}

stop() {
  touch stopped
  if is_running; then
    kill -TERM "$(cat pid)" 2>/dev/null || true # it may have ended just now
    while is_running; do sleep 1; done
  fi
  status
}

"$1"
