#!/usr/bin/env bash
# `shelflife ssh` with a real sshd on loopback, two of whose addresses are two hosts: the same bits as on one machine; hosts that cannot be reached are named before
# anything starts; a stop, a killed launcher, a killed worker leave no process behind and cost nothing but time.
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
servers=${SHELFLIFE_TEST_SERVERS:-1}
printf '# the cluster\n127.0.0.1 server %s\n127.0.0.2 worker 2\n' "$servers" >"$dir/hosts"
cluster_port=$((port + 20)) # the sshd's port is free by chance; what is above it nearly always is
launch=("$shelflife" ssh config.yaml --hosts "$dir/hosts" --dir "$dir/d" --ssh "ssh -F $dir/ssh_config" --port "$cluster_port" --connect-timeout 5)

remote() { # the processes that were started over ssh
    pgrep -f -- "shelflife node config.yaml --lifeline .*snapshots.dir=$dir"
}
nobody_left() {
    ! remote
}

# the same bits
"${launch[@]}" --set snapshots.dir="$dir/far" >"$dir/far.log" 2>&1 || fail "ssh exits $?: $(tail -n 30 "$dir/far.log")"
[ "$(tensors "$dir/plain")" = "$(tensors "$dir/far")" ] || fail "ssh changes the parameters"
for name in s0@127.0.0.1 w0@127.0.0.2 w1@127.0.0.2; do
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
    refuses 1 "host $host cannot be reached" "${launch[@]}" --hosts "$dir/hosts.bad" --set snapshots.dir="$dir/none"
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

# A run that is stopped in the middle: begin it, wait for a snapshot, end it somehow; then the same command goes on to the same bits. A validation set that takes
# long is not needed: steps are slowed by one thread and many epochs.
long=(--set snapshots.dir="$dir/stop" --set epochs=100)
must "$shelflife" train "$dir/d/config.yaml" --set snapshots.dir="$dir/long" --set epochs=100
begin() {
    rm -rf "$dir/stop"
    "${launch[@]}" "${long[@]}" >"$dir/stop.log" 2>&1 &
    launcher=$!
    wait_for 120 test -e "$dir/stop/snapshots/latest" || fail "no snapshot comes: $(tail -n 20 "$dir/stop.log")"
}
ended() { # expected exit code
    local code=0
    wait "$launcher" || code=$?
    launcher=
    [ $code = "$1" ] || fail "the launcher exits $code instead of $1: $(tail -n 20 "$dir/stop.log")"
    wait_for 30 nobody_left || fail "processes are left: $(remote)"
}
goes_on() {
    "${launch[@]}" "${long[@]}" >"$dir/on.log" 2>&1 || fail "it does not go on: $(tail -n 20 "$dir/on.log")"
    [ "$(tensors "$dir/long")" = "$(tensors "$dir/stop")" ] || fail "stopped by $1 and resumed, the parameters differ"
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
begin
kill -9 "$(pgrep -f -- "shelflife node config.yaml --lifeline .*--role.*worker.*--rank.*0.*snapshots.dir=$dir" | head -n 1)" || fail "no worker to kill"
ended 0
[ "$(tensors "$dir/long")" = "$(tensors "$dir/stop")" ] || fail "without one worker the parameters differ"
begin
pkill=$(pgrep -f -- "shelflife node config.yaml --lifeline .*--role.*worker.*snapshots.dir=$dir")
# shellcheck disable=SC2086
kill -9 $pkill
code=0
wait "$launcher" || code=$?
[ $code != 0 ] || fail "all workers were killed and the launcher is content"
grep -q "stopping the others after a snapshot" "$dir/stop.log" || fail "it does not say why it ends: $(tail "$dir/stop.log")"
wait_for 30 nobody_left || fail "processes are left: $(remote)"
launcher=
goes_on "death of all workers"
echo "ssh holds"
