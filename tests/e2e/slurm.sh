#!/usr/bin/env bash
# deploy/slurm/shelflife.sbatch in a real Slurm of one machine, whose daemons this test starts on loopback: submit, USR1 (snapshot, requeue), go on, finish, cancel, resubmit: the
# same bits as without any of that; what cannot work is refused with a reason.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/e2e/common.bash
. "$here/common.bash"
script=$here/../../deploy/slurm/shelflife.sbatch
PATH=$PATH:/usr/sbin:/sbin
for program in munged mungekey slurmctld slurmd sbatch; do
    command -v $program >/dev/null || { echo "skipped: $program is not installed (slurm-wlm, munge)"; exit 77; }
done
unset "${!SLURM_@}" "${!SHELFLIFE_S@}" SHELFLIFE_RANK SHELFLIFE_ROLE SHELFLIFE_COORDINATOR
servers=${SHELFLIFE_TEST_SERVERS:-2}
daemons=()
stop_all() {
    scancel --full --user "$(id -un)" 2>/dev/null || true
    wait_for 10 test -z "$(squeue -h 2>/dev/null)" || true
    kill "${daemons[@]}" 2>/dev/null || true
    wait_for 5 no_daemon || kill -9 "${daemons[@]}" 2>/dev/null || true
    rm -rf "$dir"
}
no_daemon() {
    ! kill -0 "${daemons[@]}" 2>/dev/null
}
trap stop_all EXIT
give_up() {
    echo "skipped: a Slurm daemon does not start here: $*"
    tail -n 5 "$dir"/slurm/*.log 2>/dev/null || true
    exit 77
}

# ---- a cluster of this machine alone ----
mkdir -m 755 "$dir/slurm" "$dir/slurm/state" "$dir/slurm/spool"
mungekey --create --keyfile "$dir/slurm/munge.key" || give_up mungekey
munged --foreground --force --key-file "$dir/slurm/munge.key" --socket "$dir/slurm/munge.socket" --pid-file "$dir/slurm/munge.pid" \
    --seed-file "$dir/slurm/munge.seed" --log-file "$dir/slurm/munge.log" >"$dir/slurm/munged.log" 2>&1 &
daemons+=($!)
wait_for 20 test -S "$dir/slurm/munge.socket" || give_up munged
host=$(hostname -s)
export SLURM_CONF=$dir/slurm/slurm.conf
write_conf() { # first port
    cat >"$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$1
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/slurm/munge.socket
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
ReturnToService=2
StateSaveLocation=$dir/slurm/state
SlurmdSpoolDir=$dir/slurm/spool
SlurmctldPidFile=$dir/slurm/slurmctld.pid
SlurmdPidFile=$dir/slurm/slurmd.pid
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
KillWait=20
NodeName=localhost NodeHostname=$host NodeAddr=127.0.0.1 Port=$(($1 + 1)) CPUs=8 RealMemory=1000 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
}
is_up() {
    sinfo -h -o %T | grep -q idle
}
for ((try = 0; try < 5; try++)); do
    write_conf $((12000 + 2 * (RANDOM % 3500)))
    slurmctld -D -f "$SLURM_CONF" >"$dir/slurm/slurmctld.log" 2>&1 &
    controller=$!
    slurmd -D -f "$SLURM_CONF" -N localhost >"$dir/slurm/slurmd.log" 2>&1 &
    daemon=$!
    daemons+=("$controller" "$daemon")
    wait_for 20 is_up && break
    kill $controller $daemon 2>/dev/null || true
    wait $controller $daemon || true
done
is_up || give_up "no node is idle"

# ---- what the jobs do ----
small_dataset "$dir/d"
config=$dir/d/config.yaml
long=(--set epochs=400) # not over before Slurm has passed a signal on
must "$shelflife" train "$config" --set snapshots.dir="$dir/long" "${long[@]}"
export SHELFLIFE=$shelflife SHELFLIFE_SERVERS=$servers
submit() { # log, options of sbatch… -- arguments of the script…
    local log=$1 options=()
    shift
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    sbatch --parsable --chdir "$dir" --output "$log" --ntasks $((servers + 2)) --cpus-per-task 1 "${options[@]}" "$script" "$@"
}
state() {
    scontrol show job "$1" | sed -n 's/.*JobState=\([A-Z]*\).*/\1/p'
}
is_state() { # job, state
    [ "$(state "$1")" = "$2" ]
}
is_over() { # job
    [[ $(state "$1") =~ ^(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL)$ ]]
}
refused() { # words, then what submit takes
    local words=$1 code=0
    shift
    rm -f "$dir/refused.log"
    submit "$dir/refused.log" --wait "$@" >/dev/null || code=$?
    [ $code = 2 ] || fail "'$words': exit code $code: $(cat "$dir/refused.log")"
    grep -qF -- "$words" "$dir/refused.log" || fail "it does not say '$words' but: $(cat "$dir/refused.log")"
}
refused "give sbatch --ntasks $((servers + 1)) or more" --ntasks "$servers" -- "$config"
refused "expected CONFIG" --
refused "cannot write into the run's folder" -- "$config" --set snapshots.dir="$config/run"
refused "epochs" -- "$config" --set epochs=none

# Time is up (USR1), requeue, go on, finish.
log=$dir/job.log
job=$(submit "$log" -- "$config" --set snapshots.dir="$dir/run" "${long[@]}")
wait_for 120 test -e "$dir/run/snapshots/latest" || fail "no snapshot comes: $(cat "$log" "$dir"/slurm/slurm*.log)"
scancel --batch --signal=USR1 "$job"
wait_for 60 is_state "$job" PENDING || fail "the job is $(state "$job") after USR1: $(cat "$log")"
grep -q "requeueing job $job" "$log" || fail "the script does not say that it requeues: $(cat "$log")"
step=$(readlink "$dir/run/snapshots/latest")
# Slurm waits two minutes by itself; within the second of the requeue it would revoke the new start too
wait_for 30 scontrol update jobid="$job" starttime=now+3 || fail "the job cannot be started again"
wait_for 120 is_over "$job" || fail "the job is $(state "$job"): $(tail -n 30 "$log" "$dir"/slurm/slurm*.log; scontrol show job "$job")"
is_state "$job" COMPLETED || fail "the job is $(state "$job"): $(tail -n 30 "$log" "$dir/slurm/slurmctld.log")"
grep -q "role-found source=slurm role=server rank=0" "$log" || fail "no server found its role in Slurm's environment: $(cat "$log")"
[ "$(grep -c "role-found source=slurm role=worker" "$log")" = 4 ] || fail "not two workers each time: $(cat "$log")"
[ "$step" != "$(readlink "$dir/run/snapshots/latest")" ] || fail "the requeued job did nothing"
[ "$(tensors "$dir/long")" = "$(tensors "$dir/run")" ] || fail "requeued, the parameters differ"

# Cancelled in the middle, then submitted again.
job=$(submit "$dir/cancel.log" -- "$config" --set snapshots.dir="$dir/cancel" "${long[@]}")
wait_for 120 test -e "$dir/cancel/snapshots/latest" || fail "no snapshot comes: $(cat "$dir/cancel.log")"
scancel "$job"
wait_for 60 is_state "$job" CANCELLED || fail "the job is $(state "$job") after scancel: $(cat "$dir/cancel.log")"
wait_for 60 grep -q "stopping signal=SIGTERM" "$dir/cancel.log" || fail "the server did not hear that it is cancelled: $(cat "$dir/cancel.log")"
wait_for 60 is_up || fail "the cancelled job does not leave the node: $(tail "$dir/cancel.log")"
submit "$dir/again.log" --wait -- "$config" --set snapshots.dir="$dir/cancel" "${long[@]}" >/dev/null || fail "it does not go on: $(cat "$dir/again.log")"
[ "$(tensors "$dir/long")" = "$(tensors "$dir/cancel")" ] || fail "cancelled and resubmitted, the parameters differ"
echo "slurm holds"
