#!/usr/bin/env bash
# down.sh - stop the SLURM that up.sh started, and nothing else.
# Daemons are found by their pid files and checked to be ours (name, and a command
# line that names $SLURM_CI_ROOT) before any signal.  Logs are kept.  Safe to rerun.
set -euo pipefail

ROOT=${SLURM_CI_ROOT:-/var/lib/slurm-ci}
quiet=0; [[ ${1:-} != --quiet ]] || quiet=1
say() { ((quiet)) || printf 'slurm-down: %s\n' "$*"; }

[[ $(id -u) == 0 ]] || { echo "slurm-down: must run as root" >&2; exit 1; }
[[ -r /proc/self/cmdline ]] || { echo "slurm-down: /proc is not mounted" >&2; exit 1; }
[[ -e $ROOT/.slurm-ci ]] || { say "nothing at $ROOT"; exit 0; }
if [[ -z ${SLURM_CI_LOCKED:-} ]]; then
  exec 9> "$ROOT/lock"
  flock -w 180 9 || { echo "slurm-down: another run holds $ROOT/lock" >&2; exit 1; }
fi
export SLURM_CONF=$ROOT/etc/slurm.conf

# ours PID NAME: is that process NAME, started with our files?
ours() {
  [[ $1 =~ ^[1-9][0-9]*$ && -r /proc/$1/cmdline ]] || return 1
  [[ $(cat "/proc/$1/comm" 2>/dev/null) == "$2" ]] || return 1
  tr '\0' ' ' < "/proc/$1/cmdline" 2>/dev/null | grep -qF -- "$ROOT/"
}
pid_of() { cat "$ROOT/run/$1.pid" 2>/dev/null || true; }
gone() { # gone SECONDS PID... : wait for all to be gone (a zombie counts as gone)
  local end=$((SECONDS + $1)) p s; shift
  for p in "$@"; do
    while s=$(awk '{sub(/.*\) /, ""); print $1}' "/proc/$p/stat" 2>/dev/null) && [[ -n $s && $s != Z ]]; do
      ((SECONDS < end)) || return 1
      sleep 0.1
    done
  done
}
stop() { # stop NAME PIDFILE...
  local name=$1 f p pids=(); shift
  for f in "$@"; do
    p=$(pid_of "$f")
    if ours "$p" "$name"; then pids+=("$p"); kill -TERM "$p" 2>/dev/null || true; fi
  done
  ((${#pids[@]})) || return 0
  if ! gone 10 "${pids[@]}"; then
    for p in "${pids[@]}"; do if ours "$p" "$name"; then kill -KILL "$p" 2>/dev/null || true; fi; done
    gone 5 "${pids[@]}" || true
  fi
  say "stopped $name (${pids[*]})"
}

# Processes of jobs: they carry both our SLURM_CONF and a SLURM_JOB_ID.
job_pids() {
  local d p
  for d in /proc/[0-9]*; do
    p=${d#/proc/}
    [[ $p != "$$" && $p != "$PPID" && $p != "$BASHPID" ]] || continue
    { tr '\0' '\n' < "$d/environ" | awk -v r="SLURM_CONF=$ROOT/etc/" '
      index($0, r) == 1 { c = 1 } /^SLURM_JOB_ID=/ { j = 1 } END { exit !(c && j) }'; } 2>/dev/null && echo "$p" || true
  done
}

# 1. jobs: cancel, let slurmd end them
if ours "$(pid_of slurmctld)" slurmctld; then
  jobs=$(timeout 5 squeue -h -o %A 2>/dev/null | sort -un | tr '\n' ' ' || true)
  if [[ -n ${jobs// /} ]]; then
    # shellcheck disable=SC2086
    timeout 10 scancel $jobs 2>/dev/null || true
    end=$((SECONDS + 15))
    while [[ -n $(timeout 5 squeue -h -o %A 2>/dev/null) ]] && ((SECONDS < end)); do sleep 0.2; done
    say "cancelled jobs: $jobs"
  fi
fi

# 2. daemons
shopt -s nullglob
slurmds=()
for f in "$ROOT"/run/slurmd.*.pid; do f=${f##*/}; slurmds+=("${f%.pid}"); done
stop slurmd ${slurmds[@]+"${slurmds[@]}"}
stop slurmctld slurmctld
stop munged munged

# 3. what jobs left behind (daemonised children escape proctrack/linuxproc)
left=$(job_pids | tr '\n' ' ')
if [[ -n ${left// /} ]]; then
  # shellcheck disable=SC2086
  { kill -TERM $left || true; gone 3 $left || kill -KILL $left || true; } 2>/dev/null
  say "ended leftover job processes: $left"
fi

rm -f "$ROOT"/run/*.pid "$ROOT"/munge/munge.sock "$ROOT"/munge/munge.sock.lock
if [[ -L /etc/slurm/slurm.conf && $(readlink /etc/slurm/slurm.conf) == "$ROOT/etc/slurm.conf" ]]; then
  rm -f /etc/slurm/slurm.conf
fi
say "down"
