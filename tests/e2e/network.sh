#!/usr/bin/env bash
# A cluster across two network namespaces while the network between them loses packets, resets connections, crawls, and is cut one way and both ways: the final parameters
# are those of a quiet run. Needs root, ip and nft, and leaves nothing behind.
set -euo pipefail
# shellcheck source=tests/e2e/common.bash
. "$(dirname "$0")/common.bash"
left=sl-left-$$ right=sl-right-$$
clean_all() {
    clean
    ip netns del "$left" 2>/dev/null || true
    ip netns del "$right" 2>/dev/null || true
}
trap clean_all EXIT
if ! command -v ip >/dev/null || ! command -v nft >/dev/null || ! ip netns add "$left" 2>"$dir/netns.txt"; then
    echo "skipped: no network namespaces here: $(cat "$dir/netns.txt" 2>/dev/null || echo "ip or nft is missing")"
    exit 77
fi
ip netns add "$right"
ip link add "slv$$" netns "$left" type veth peer name "slv$$" netns "$right"
for side in "$left 10.77.0.1" "$right 10.77.0.2"; do
    read -r name address <<<"$side"
    ip -n "$name" addr add "$address/24" dev "slv$$"
    ip -n "$name" link set "slv$$" up
    ip -n "$name" link set lo up
done

small_dataset "$dir/d"
config=$dir/d/config.yaml
options=(--set epochs=300 --set snapshots.every_steps=50 --set cluster.insecure=true --set cluster.servers=2 --set cluster.status=none
    --set cluster.timeout_ms=3000 --set cluster.resend_ms=300)
"$shelflife" train "$config" --set snapshots.dir="$dir/quiet" --set epochs=300 --set snapshots.every_steps=50 >"$dir/quiet.log" 2>&1 || fail "the quiet run: $(tail -n 20 "$dir/quiet.log")"

endpoint=tcp://10.77.0.1:7701
ip netns exec "$left" "$shelflife" server "$config" --set snapshots.dir="$dir/run" --set cluster.coordinator=$endpoint "${options[@]}" >"$dir/s0.log" 2>&1 &
coordinator=$!
ip netns exec "$right" "$shelflife" server "$config" --rank 1 --coordinator $endpoint --bind tcp://10.77.0.2:7702 "${options[@]}" >"$dir/s1.log" 2>&1 &
pids+=("$coordinator" "$!")
workers=()
for w in 0 1; do
    ip netns exec "$right" "$shelflife" worker "$config" --coordinator $endpoint --threads 1 --name "w$w" "${options[@]}" >"$dir/w$w.log" 2>&1 &
    pids+=($!)
    workers+=($!)
done

rule() { # what becomes of packets that arrive on the right; empties the table first
    ip netns exec "$right" nft -f - <<END
flush ruleset
table inet t {
    chain c {
        type filter hook input priority 0
        $1
    }
}
END
}
steps() { grep -c '"kind":"step"' "$dir/run/metrics.jsonl" 2>/dev/null || true; }
beyond() { [ "$(steps)" -ge "$1" ] 2>/dev/null || ! kill -0 $coordinator 2>/dev/null; }
wait_for 60 beyond 20 && [ -s "$dir/run/metrics.jsonl" ] || fail "the run does not start: $(tail -n 5 "$dir"/s0.log "$dir"/w0.log)"

disturb() { # what, rule, seconds
    rule "$2"
    sleep "$3" # how long the disturbance lasts
    rule ""
    ip netns exec "$right" tc qdisc del dev "slv$$" root 2>/dev/null || true
    echo "$1: step $(steps)"
    kill -0 $coordinator 2>/dev/null || return 0
    wait_for 90 beyond $(($(steps) + 10)) || fail "after '$1' training does not go on: $(tail -n 3 "$dir"/*.log)"
}
disturb "a packet in twenty is lost" "numgen random mod 100 < 5 drop" 3
disturb "connections are reset" "tcp dport 1-65535 numgen random mod 1000 < 20 reject with tcp reset" 2
ip netns exec "$right" tc qdisc add dev "slv$$" root tbf rate 2mbit burst 32kbit latency 400ms
disturb "two megabits a second" "" 4
disturb "nothing arrives on one side, briefly" "ip saddr 10.77.0.1 drop" 1
disturb "nothing arrives on one side, for longer than the deadline" "ip saddr 10.77.0.1 drop" 5
ip -n "$right" link set "slv$$" down
sleep 4 # longer than the deadline
ip -n "$right" link set "slv$$" up
echo "the cable is out for 4 s: step $(steps)"

code=0
wait $coordinator || code=$?
[ $code = 0 ] || fail "the coordinator exits $code: $(tail -n 20 "$dir/s0.log")"
for pid in "${workers[@]}"; do wait "$pid" || fail "a worker fails: $(tail -n 5 "$dir"/w*.log)"; done
[ "$(tensors "$dir/run")" = "$(tensors "$dir/quiet")" ] || fail "the parameters differ from those of the quiet run"
echo "$(grep -c rolled-back "$dir/s0.log" || true) rollbacks, the same bits"
