#!/usr/bin/env bash
# up.sh - start a private, single-machine SLURM (munged + slurmctld + several
# slurmd) for tests.  Root, Debian/Ubuntu, no systemd.  Safe to rerun: a healthy
# cluster is left alone, a half-dead one is stopped and started afresh.
#
#   up.sh [--restart]        then:  . $SLURM_CI_ROOT/env.sh ; sbatch job.sh
#   down.sh                  stops what this started
#
# Everything lives under $SLURM_CI_ROOT.  Settings (environment):
#   SLURM_CI_ROOT       /var/lib/slurm-ci  configuration, state, logs, pid files
#   SLURM_CI_CPU_NODES  2      nodes cpu1..cpuN   (partition "cpu", the default, and "all")
#   SLURM_CI_GPU_NODES  1      nodes gpu1..gpuN   (partition "gpu", and "all")
#   SLURM_CI_CPUS       2      CPUs a node claims (may exceed the machine's)
#   SLURM_CI_MEM_MB     8192   memory a node claims (may exceed the machine's)
#   SLURM_CI_GPUS       2      made-up GPUs a GPU node claims (gres/gpu)
#   SLURM_CI_MEM_KILL   1      kill jobs that use more than their --mem
#   SLURM_CI_PORT       17810  first of (3 + nodes) TCP ports
#   SLURM_CI_WAIT       60     seconds to wait for the nodes to be idle
#   SLURM_CI_LINK_ETC   1      link /etc/slurm/slurm.conf here if there is none
set -euo pipefail
umask 022

ROOT=${SLURM_CI_ROOT:-/var/lib/slurm-ci}
CPU_NODES=${SLURM_CI_CPU_NODES:-2}
GPU_NODES=${SLURM_CI_GPU_NODES:-1}
CPUS=${SLURM_CI_CPUS:-2}
MEM_MB=${SLURM_CI_MEM_MB:-8192}
GPUS=${SLURM_CI_GPUS:-2}
MEM_KILL=${SLURM_CI_MEM_KILL:-1}
PORT=${SLURM_CI_PORT:-17810}
WAIT=${SLURM_CI_WAIT:-60}
LINK_ETC=${SLURM_CI_LINK_ETC:-1}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
T0=$SECONDS

say() { printf 'slurm-up: %s\n' "$*"; }
die() { printf 'slurm-up: ERROR: %s\n' "$*" >&2; exit 1; }

restart=0
case "${1:-}" in
  '') ;;
  --restart) restart=1 ;;
  *) die "usage: up.sh [--restart]" ;;
esac

[[ $(id -u) == 0 ]] || die "must run as root (slurmd starts jobs as their users)"
[[ -r /proc/self/cmdline ]] || die "/proc is not mounted"
[[ $ROOT == /*/?* && $ROOT != *[[:space:]]* ]] || die "SLURM_CI_ROOT must be absolute, two levels deep, without blanks"
(( CPU_NODES >= 1 && GPU_NODES >= 0 )) || die "need at least one CPU node"
(( GPU_NODES == 0 || GPUS >= 1 )) || die "SLURM_CI_GPUS must be at least 1"

if [[ -d $ROOT && ! -e $ROOT/.slurm-ci && -n $(ls -A "$ROOT") ]]; then
  die "$ROOT exists, is not empty and was not made by this script"
fi
mkdir -p "$ROOT"; chmod 755 "$ROOT"; : > "$ROOT/.slurm-ci"

# One run at a time.  The daemons must not inherit fd 9 (9>&- below).
exec 9> "$ROOT/lock"
flock -w 180 9 || die "another up.sh or down.sh holds $ROOT/lock"

nodes=()
for ((i = 1; i <= CPU_NODES; i++)); do nodes+=("cpu$i"); done
for ((i = 1; i <= GPU_NODES; i++)); do nodes+=("gpu$i"); done

# --- install what is missing -------------------------------------------------
missing=()
for c in munged munge slurmctld slurmd sbatch sinfo flock unshare getent; do
  command -v "$c" >/dev/null || missing+=("$c")
done
if ((${#missing[@]})); then
  command -v apt-get >/dev/null || die "missing ${missing[*]} and no apt-get here"
  say "installing (missing: ${missing[*]})"
  export DEBIAN_FRONTEND=noninteractive
  apt=(apt-get -q -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3)
  # Keep the packages' init scripts from starting daemons of their own.
  policy=
  if [[ ! -e /usr/sbin/policy-rc.d ]]; then
    policy=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' > $policy; chmod 755 $policy
  fi
  rc=0
  { "${apt[@]}" update 9>&- && "${apt[@]}" install -y --no-install-recommends \
      munge slurmctld slurmd slurm-client util-linux libc-bin 9>&-; } \
    > "$ROOT/apt.log" 2>&1 </dev/null || rc=$?
  [[ -z $policy ]] || rm -f $policy
  ((rc == 0)) || { tail -n 20 "$ROOT/apt.log" >&2; die "apt-get failed ($rc), see $ROOT/apt.log"; }
  say "installed in $((SECONDS - T0)) s"
fi

export SLURM_CONF=$ROOT/etc/slurm.conf

# healthy: every daemon lives, slurmctld answers, every wanted node can take jobs.
# (sinfo alone shows a dead slurmd's node as idle for SlurmdTimeout, 300 s.)
alive() { # alive NAME PIDFILE ; a zombie has an empty command line
  local p
  p=$(cat "$ROOT/run/$2.pid" 2>/dev/null) && [[ $p =~ ^[1-9][0-9]*$ ]] || return 1
  [[ $(cat "/proc/$p/comm" 2>/dev/null) == "$1" ]] || return 1
  tr '\0' ' ' 2>/dev/null < "/proc/$p/cmdline" | grep -qF -- "$ROOT/"
}
node_states() { timeout 5 sinfo -h -N -p all -o '%N %T' 2>/dev/null | sort -u; }
healthy() {
  local got n
  [[ -s $SLURM_CONF ]] && alive munged munged && alive slurmctld slurmctld || return 1
  for n in "${nodes[@]}"; do alive slurmd "slurmd.$n" || return 1; done
  # sinfo retries for many seconds when nothing listens, so look first
  (: < "/dev/tcp/127.0.0.1/$PORT") 2>/dev/null || return 1
  got=$(node_states) || return 1
  [[ $(wc -l <<<"$got") == "${#nodes[@]}" ]] || return 1
  for n in "${nodes[@]}"; do
    grep -Eq "^$n (idle|mixed|allocated|completing)\$" <<<"$got" || return 1
  done
}
report() {
  timeout 5 sinfo -N -o '%10N %10P %10T %5c %8m %10G' || true
  say "ready after $((SECONDS - T0)) s; SLURM_CONF=$SLURM_CONF (or: . $ROOT/env.sh)"
}

if ((!restart)) && healthy; then
  say "already up"
  report
  exit 0
fi

# --- stop leftovers, start clean ---------------------------------------------
SLURM_CI_ROOT=$ROOT SLURM_CI_LOCKED=1 bash "$HERE/down.sh" --quiet 9>&-
for d in etc state spool munge log dev; do rm -rf "${ROOT:?}/$d"; done
mkdir -p "$ROOT"/{etc,state,log,run,munge,dev}
for n in "${nodes[@]}"; do mkdir -p "$ROOT/spool/$n"; done

# --- which addresses to bind -------------------------------------------------
# With No[Ctld]InAddrAny a daemon binds what *its hostname* resolves to.  So: use
# it when that is loopback; else give the daemons a host name of their own
# ("localhost", in a UTS namespace); else let them listen everywhere (munge still
# guards them).
daemon=() ; comm_daemon= ; comm_client= ; bind=
addrs=$(getent ahosts "$(hostname)" | awk '{print $1}' | sort -u || true)
if [[ -n $addrs ]] && ! grep -Evq '^(127\.|::1$)' <<<"$addrs"; then
  bind="loopback (host name $(hostname) is loopback)"
  comm_daemon='CommunicationParameters=NoCtldInAddrAny,NoInAddrAny'
  comm_client=$comm_daemon
elif unshare --uts true 2>/dev/null; then
  bind="loopback (daemons in a UTS namespace)"
  comm_daemon='CommunicationParameters=NoCtldInAddrAny,NoInAddrAny'
  daemon=(unshare --uts sh -c 'hostname localhost && exec "$@"' sh)
else
  bind="ALL INTERFACES (host name $(hostname) is not loopback and unshare --uts is refused)"
fi

# --- configuration -----------------------------------------------------------
cpu_list=cpu1; ((CPU_NODES == 1)) || cpu_list="cpu[1-$CPU_NODES]"
gpu_list=gpu1; ((GPU_NODES == 1)) || gpu_list="gpu[1-$GPU_NODES]"
{
  cat <<CONF
ClusterName=ci
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$PORT
SlurmdPort=$((PORT + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$ROOT/munge/munge.sock
StateSaveLocation=$ROOT/state
SlurmdSpoolDir=$ROOT/spool/%n
SlurmctldPidFile=$ROOT/run/slurmctld.pid
SlurmdPidFile=$ROOT/run/slurmd.%n.pid
SlurmctldLogFile=$ROOT/log/slurmctld.log
SlurmdLogFile=$ROOT/log/slurmd.%n.log
# no cgroups needed: follow processes by parentage
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# believe the node lines below, not the hardware
SlurmdParameters=config_overrides
DefMemPerCPU=500
PropagateResourceLimits=NONE
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
# finished jobs: sacct -c reads this file (no slurmdbd)
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$ROOT/log/jobcomp.txt
# quick reactions
SchedulerParameters=sched_interval=2,batch_sched_delay=0,bf_interval=2
KillWait=5
ReturnToService=2
MinJobAge=600
CONF
  if ((MEM_KILL)); then echo 'JobAcctGatherParams=UsePss,OverMemoryKill'; else echo 'JobAcctGatherParams=UsePss'; fi
  ((GPU_NODES == 0)) || echo 'GresTypes=gpu'
  p=$((PORT + 2))
  for n in "${nodes[@]}"; do
    g=; f=cpu
    if [[ $n == gpu* ]]; then g=" Gres=gpu:$GPUS"; f=gpu; fi
    echo "NodeName=$n NodeHostname=localhost NodeAddr=127.0.0.1 Port=$p CPUs=$CPUS RealMemory=$MEM_MB Feature=$f$g"
    p=$((p + 1))
  done
  echo "PartitionName=cpu Nodes=$cpu_list Default=YES DefaultTime=60 MaxTime=INFINITE State=UP"
  ((GPU_NODES == 0)) || echo "PartitionName=gpu Nodes=$gpu_list DefaultTime=60 MaxTime=INFINITE State=UP"
  echo "PartitionName=all Nodes=ALL DefaultTime=60 MaxTime=INFINITE State=UP"
} > "$ROOT/etc/common.conf"

write_conf() { printf 'Include %s\n%s\n' "$ROOT/etc/common.conf" "$2" > "$1"; }
mkdir -p "$ROOT/etc/daemon"
write_conf "$ROOT/etc/slurm.conf" "$comm_client"
write_conf "$ROOT/etc/daemon/slurm.conf" "$comm_daemon"

# slurmd 22.05 loads a cgroup plugin whether it is used or not; with "autodetect" it
# ends at once where no cgroup is mounted.  The v1 plugin touches nothing until
# something asks it to, and nothing here does.  (22.05 has no "disabled".)
echo 'CgroupPlugin=cgroup/v1' | tee "$ROOT/etc/cgroup.conf" > "$ROOT/etc/daemon/cgroup.conf"

if ((GPU_NODES > 0)); then
  # gres.conf wants character devices; links to /dev/null will do, and need no mknod.
  for ((i = 0; i < GPUS; i++)); do ln -sfn /dev/null "$ROOT/dev/gpu$i"; done
  files=$ROOT/dev/gpu0; ((GPUS == 1)) || files="$ROOT/dev/gpu[0-$((GPUS - 1))]"
  printf 'AutoDetect=off\nNodeName=%s Name=gpu File=%s\n' "$gpu_list" "$files" > "$ROOT/etc/gres.conf"
  cp "$ROOT/etc/gres.conf" "$ROOT/etc/daemon/gres.conf"
fi

if ((LINK_ETC)) && [[ ! -e /etc/slurm/slurm.conf ]]; then
  mkdir -p /etc/slurm && ln -sfn "$ROOT/etc/slurm.conf" /etc/slurm/slurm.conf
fi
cat > "$ROOT/env.sh" <<ENVSH
export SLURM_CONF=$ROOT/etc/slurm.conf
ENVSH

# --- start -------------------------------------------------------------------
fail() { # show the logs (less the harmless noise), stop what was started
  local f
  for f in "$ROOT"/log/*.log "$ROOT"/log/*.out; do
    [[ -s $f ]] || continue
    echo "--- $f" >&2
    grep -Ev 'pmix|MPI: Cannot|state file|NOTE: Trying backup' "$f" | tail -n 8 >&2 || true
  done
  SLURM_CI_ROOT=$ROOT SLURM_CI_LOCKED=1 bash "$HERE/down.sh" --quiet 9>&- || true
  die "$* (logs: $ROOT/log)"
}
# A daemon gets a plain environment, no terminal, no lock, and as many files as allowed.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
start() {
  local name=$1; shift
  (cd / && env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    "$@" 9>&- </dev/null >> "$ROOT/log/$name.out" 2>&1) || fail "$name did not start"
}

dd if=/dev/urandom of="$ROOT/munge/munge.key" bs=128 count=1 status=none
chmod 600 "$ROOT/munge/munge.key"
m=$ROOT/munge
start munged munged --key-file="$m/munge.key" --socket="$m/munge.sock" --seed-file="$m/munge.seed" \
  --pid-file="$ROOT/run/munged.pid" --log-file="$ROOT/log/munged.log"
munge -n -S "$m/munge.sock" 2>&1 | unmunge -S "$m/munge.sock" >/dev/null 2>&1 || fail "munge does not answer"

start slurmctld ${daemon[@]+"${daemon[@]}"} slurmctld -c -f "$ROOT/etc/daemon/slurm.conf"
for n in "${nodes[@]}"; do
  start "slurmd.$n" ${daemon[@]+"${daemon[@]}"} slurmd -N "$n" -f "$ROOT/etc/daemon/slurm.conf"
done

end=$((SECONDS + WAIT))
until healthy; do
  # a daemon writes its pid file a moment after it detaches; one that is not there
  # 5 s later (port taken?) will not come
  if ((SECONDS >= end - WAIT + 5)); then
    alive slurmctld slurmctld || fail "slurmctld died"
    for n in "${nodes[@]}"; do alive slurmd "slurmd.$n" || fail "slurmd of $n died"; done
  fi
  ((SECONDS < end)) || { node_states >&2 || true; fail "nodes not idle after $WAIT s"; }
  sleep 0.2
done
say "listening on $bind"
report
