#!/usr/bin/env bash
# `shelflife ssh` with a real sshd on loopback, two of whose addresses are two hosts: two servers and two workers, the same bits and figures as on one machine; hosts that cannot be
# reached are named before anything starts; a stop, a killed launcher, killed workers leave no process behind and cost nothing but time.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
sshd=$(PATH=$PATH:/usr/sbin command -v sshd) || { echo "skipped: sshd is not installed (openssh-server)"; exit 77; }
sshd_pid='' silent_pid='' launcher=''
trap 'kill -9 $launcher $silent_pid $sshd_pid 2>/dev/null || true; rm -rf "$dir"' EXIT

[ "$(id -u)" != 0 ] || install -d -m 755 /run/sshd # where sshd locks itself in before a login
ssh-keygen -q -t ed25519 -N '' -f "$dir/host" && ssh-keygen -q -t ed25519 -N '' -f "$dir/user"
for ((try = 0; try < 20; try++)); do
    port=$((22000 + RANDOM % 9000))
    cat >"$dir/sshd_config" <<CONFIG
Port $port
ListenAddress 127.0.0.1
ListenAddress 127.0.0.2
HostKey $dir/host
AuthorizedKeysFile $dir/user.pub
PidFile $dir/sshd.pid
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
MaxStartups 100
CONFIG
    "$sshd" -D -e -f "$dir/sshd_config" 2>"$dir/sshd.log" &
    sshd_pid=$!
    wait_for 10 grep -qE "listening on 127.0.0.2|Cannot bind|in use" "$dir/sshd.log" || true
    ! grep -qE "Cannot bind|in use" "$dir/sshd.log" && grep -q "Server listening" "$dir/sshd.log" && break
    kill $sshd_pid 2>/dev/null || true
    wait $sshd_pid || true
    sshd_pid=
done
[ -n "$sshd_pid" ] || { echo "skipped: sshd does not start here: $(tail -n 3 "$dir/sshd.log")"; exit 77; }
sed 's/^/127.0.0.1,127.0.0.2,[127.0.0.1]:'"$port"',[127.0.0.2]:'"$port"' /' "$dir/host.pub" >"$dir/known"
cat >"$dir/ssh_config" <<CONFIG
Host *
    Port $port
    User $(id -un)
    IdentityFile $dir/user
    IdentitiesOnly yes
    UserKnownHostsFile $dir/known
    GlobalKnownHostsFile none
    StrictHostKeyChecking yes
CONFIG
ssh -F "$dir/ssh_config" -o BatchMode=yes 127.0.0.2 true 2>"$dir/err.txt" || { cat "$dir/err.txt" "$dir/sshd.log"; echo "skipped: this machine's sshd lets nobody in"; exit 77; }

small_dataset "$dir/d"
must "$shelflife" train "$dir/d/config.yaml" --set snapshots.dir="$dir/plain"
servers=${SHELFLIFE_TEST_SERVERS:-2}
printf '# the cluster\n127.0.0.1 server %s\n127.0.0.2 worker 2\n' "$servers" >"$dir/hosts"
cluster_port=$((port + 20)) # the sshd's port is free by chance; what is above it nearly always is
launch=("$shelflife" ssh config.yaml --hosts "$dir/hosts" --dir "$dir/d" --ssh "ssh -F $dir/ssh_config" --port "$cluster_port")

remote() { # the processes that were started over ssh
    pgrep -f -- "shelflife node config.yaml --lifeline .*snapshots.dir=$dir"
}
nobody_left() {
    ! remote
}

# the same bits
"${launch[@]}" --set snapshots.dir="$dir/far" >"$dir/far.log" 2>&1 || fail "ssh exits $?: $(tail -n 30 "$dir/far.log")"
[ "$(tensors "$dir/plain")" = "$(tensors "$dir/far")" ] || fail "ssh changes the parameters"
figures() { # of a run: what does not depend on who computed when
    python3 -c 'import json, sys
for line in map(json.loads, open(sys.argv[1])):
    if line["kind"] == "step":
        print([line[key] for key in ("step", "loss", "coefficient", "gradient_norm", "update_norm", "parameter_norm")])' "$1/metrics.jsonl"
}
[ "$(figures "$dir/plain")" = "$(figures "$dir/far")" ] || fail "the figures differ: $(diff <(figures "$dir/plain") <(figures "$dir/far") | head -n 4)"
for name in $(seq -f 's%g@127.0.0.1' 0 $((servers - 1))) w0@127.0.0.2 w1@127.0.0.2; do
    grep -qF "[$name] " "$dir/far.log" || fail "no line of $name: $(cat "$dir/far.log")"
done
wait_for 20 nobody_left || fail "processes are left after the end: $(remote)"

# hosts that cannot take part: named, nothing starts
python3 -c 'import socket, time
s = socket.socket(); s.bind(("127.0.0.4", '"$port"')); s.listen(); time.sleep(600)' &
silent_pid=$!
for host in 127.0.0.3 127.0.0.4 no-such-host.invalid; do
    printf '%s worker\n' "$host" | cat "$dir/hosts" - >"$dir/hosts.bad"
    begin=$SECONDS
    refuses 1 "host $host cannot be reached" "${launch[@]}" --connect-timeout 5 --hosts "$dir/hosts.bad" --set snapshots.dir="$dir/none"
    grep -qF "nothing was started" "$dir/err.txt" || fail "$(cat "$dir/err.txt")"
    [ $((SECONDS - begin)) -lt 60 ] || fail "it takes $((SECONDS - begin)) s to find out that $host cannot be reached"
    [ ! -e "$dir/none" ] || fail "a run was begun without $host"
done
refuses 2 "host 127.0.0.1 is not ready" "${launch[@]}" --dir "$dir/clips-are-not-here"
refuses 2 "host 127.0.0.2 is not ready" "${launch[@]}" --set epochs=none
refuses 1 "has no shelflife there" "${launch[@]}" --program "$dir/shelflife"
refuses 2 "cannot read the hosts file" "${launch[@]}" --hosts "$dir/no-file"
printf '127.0.0.1 boss\n' >"$dir/hosts.bad"
refuses 2 "hosts.bad line 1" "${launch[@]}" --hosts "$dir/hosts.bad"

# A run that is stopped in the middle: begin it, wait until everybody takes part and a snapshot stands, end it somehow. It has so many epochs that it is not over before that on any
# machine, so the same command, which must go on, is stopped as well. With a constant learning rate steps do not depend on how many there will be: a run in one process that ends
# at that step must have the same bits.
long=(--set snapshots.dir="$dir/stop" --set optimiser.schedule=constant --set epochs=1000000)
joined() {
    [ "$(grep -c worker-joined "$dir/stop.log")" -ge 2 ] && [ -e "$dir/stop/snapshots/latest" ]
}
begin() {
    rm -rf "$dir/stop"
    "${launch[@]}" "${long[@]}" >"$dir/stop.log" 2>&1 &
    launcher=$!
    wait_for 120 joined || fail "no snapshot with two workers: $(tail -n 20 "$dir/stop.log")"
}
ended() { # expected exit code
    local code=0
    wait "$launcher" || code=$?
    launcher=
    [ $code = "$1" ] || fail "the launcher exits $code instead of $1: $(tail -n 20 "$dir/stop.log")"
    wait_for 30 nobody_left || fail "processes are left: $(remote)"
}
moved() {
    [ "$(readlink "$dir/stop/snapshots/latest")" != "$seen" ]
}
goes_on() {
    local step
    seen=$(readlink "$dir/stop/snapshots/latest")
    "${launch[@]}" "${long[@]}" >"$dir/stop.log" 2>&1 &
    launcher=$!
    wait_for 120 moved || fail "it does not go on after $1: $(tail -n 20 "$dir/stop.log")"
    kill -TERM "$launcher"
    ended 143
    grep -q "snapshot resumed step=" "$dir/stop.log" || fail "after $1 it begins anew"
    step=$(basename "$(readlink "$dir/stop/snapshots/latest")") && step=$((10#${step#step-}))
    rm -rf "$dir/long"
    must "$shelflife" train "$dir/d/config.yaml" "${long[@]}" --set max_steps=$step --set snapshots.dir="$dir/long"
    [ "$(numbers "$dir/long")" = "$(numbers "$dir/stop")" ] || fail "stopped by $1 and resumed, the parameters differ at step $step"
}
process() { # role, rank: its process, started over ssh
    pgrep -f -- "shelflife node config.yaml --lifeline .*--role $1 --rank $2 .*snapshots.dir=$dir" || fail "no process of $1 $2"
}
begin
kill -USR1 "$launcher"
ended 138
goes_on SIGUSR1
begin
kill -TERM "$launcher"
ended 143
begin
kill -9 "$launcher"
ended 137
goes_on "kill -9 of the launcher"
begin # one worker dies: the other goes on alone
kill -9 "$(process worker 0)"
wait_for 60 grep -q worker-lost "$dir/stop.log" || fail "nobody misses the worker: $(tail -n 20 "$dir/stop.log")"
seen=$(readlink "$dir/stop/snapshots/latest")
wait_for 60 moved || fail "without one worker it stands still: $(tail -n 20 "$dir/stop.log")"
kill -TERM "$launcher"
ended 143
goes_on "death of one worker"
begin # all die
workers="$(process worker 0) $(process worker 1)"
# shellcheck disable=SC2086
kill -9 $workers
code=0
wait "$launcher" || code=$?
launcher=
[ $code != 0 ] || fail "all workers were killed and the launcher is content: $(tail -n 20 "$dir/stop.log")"
grep -q "stopping the others after a snapshot" "$dir/stop.log" || fail "it does not say why it ends: $(tail "$dir/stop.log")"
wait_for 30 nobody_left || fail "processes are left: $(remote)"
goes_on "death of all workers"
echo "ssh holds"
