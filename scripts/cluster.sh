#!/bin/bash
# cluster.sh run|demo - demonstrates one address plan for three Docker hosts, on this machine alone.
#
# Each host is a complete Docker Engine (engine.sh) in its own namespaces, with a gipam. A bridge in a namespace of its own
# is the LAN that connects the hosts and an etcd of three members, in which the hosts claim slices of two pools. They create
# networks from one pool, and their containers reach each other over kernel routes, without an overlay; a macvlan subnet
# from the other pool spans all hosts. Then the script cuts etcd off, and starts more networks and containers on each
# host. "run" then prints what to look at and serves until Ctrl-C; "demo" exits by itself, with code 0 only if every step
# succeeded. Either way only caches stay: the Engine's root file system, and etcd's programs if this machine has none. Needs
# root and Debian's apt.
set -euo pipefail
# shellcheck source=scripts/hosts.sh
. "$(dirname "$(readlink -f "$0")")/hosts.sh"

HOSTS=(a b c)
TAG=cluster-$$
SWITCH='' STARTING=() MEMBERS=() FREE=''
ENDPOINTS=http://198.51.100.21:2379,http://198.51.100.22:2379,http://198.51.100.23:2379
# Engine 28 and later let other hosts in only if the network says so.
ROUTED="-o com.docker.network.bridge.gateway_mode_ipv4=routed -o com.docker.network.bridge.gateway_mode_ipv6=routed"

# Runs a command on a host.
on() { scripts/engine.sh exec "$TAG-$1" "${@:2}"; } # HOST COMMAND...

# Prints a command as a user of the host would type it, and runs it.
show() { printf '%s$ %s\n' "$1" "${*:2}"; on "$@"; } # HOST COMMAND...

# Runs a function for every host at the same time; fails if one of them fails.
everywhere() { # FUNCTION
  local host pid pids=()
  for host in "${HOSTS[@]}"; do
    "$1" "$host" >"$STATE/$host.said" 2>&1 &
    pids+=($!)
  done
  for host in "${HOSTS[@]}"; do
    pid=${pids[0]}
    pids=("${pids[@]:1}")
    wait "$pid" || { cat "$STATE/$host.said" >&2; fail "$1 failed on host $host"; }
    cat "$STATE/$host.said"
  done
}

# --- before ---------------------------------------------------------------------------------------------------------

# Connects a namespace to the LAN: its link is called lan0.
connect() { # PORT PID ADDRESS4 ADDRESS6
  nsenter -n -t "$SWITCH" sh -euc "ip link add $1 type veth peer name lan0 netns $2; ip link set $1 master lan up"
  nsenter -n -t "$2" sh -euc "ip link set lo up; ip link set lan0 up; ip addr add $3/24 dev lan0; ip addr add $4/64 dev lan0 nodad"
}

start_lan() {
  namespace
  SWITCH=$!
  nsenter -n -t "$SWITCH" sh -euc 'ip link add lan type bridge; ip link set lan up'
}

start_etcd() {
  local programs number pid cluster=etcd1=http://198.51.100.21:2380,etcd2=http://198.51.100.22:2380,etcd3=http://198.51.100.23:2380
  programs=$(scripts/etcd.sh)
  PATH=$programs:$PATH
  for number in 1 2 3; do
    namespace
    pid=$!
    MEMBERS+=("$pid")
    connect "port-etcd$number" "$pid" "198.51.100.2$number" "2001:db8::2$number"
    # its data is in memory, as a busy disk would be slower than an answer may be
    mkdir "$STATE/etcd$number"
    # shellcheck disable=SC2016 # expanded inside
    ours nsenter -n -t "$pid" unshare -m sh -euc 'mount -t tmpfs tmpfs "$1"; shift; exec etcd "$@"' sh "$STATE/etcd$number" \
      --name "etcd$number" --data-dir "$STATE/etcd$number" --initial-cluster "$cluster" \
      --listen-client-urls "http://198.51.100.2$number:2379" --advertise-client-urls "http://198.51.100.2$number:2379" \
      --listen-peer-urls "http://198.51.100.2$number:2380" --initial-advertise-peer-urls "http://198.51.100.2$number:2380" \
      --auto-compaction-retention 1h >"$STATE/etcd$number.log" 2>&1
  done
  for _ in $(seq 100); do
    ! etcd_answers "${MEMBERS[0]}" || return 0
    sleep 0.1
  done
  tail -n 5 "$STATE"/etcd?.log >&2
  fail "etcd does not answer"
}

# Whether all members answer a process in this namespace.
etcd_answers() { # PID
  ETCDCTL_API=3 nsenter -n -t "$1" etcdctl --endpoints "$ENDPOINTS" --dial-timeout 500ms --command-timeout 1s endpoint health >"$STATE/health" 2>&1
}

# Prints what each member answered, or that it did not.
members() { grep '^http' "$STATE/health"; }

# Connects the members of etcd to the LAN, or cuts them off.
etcd_links() { # up|down
  local number
  for number in 1 2 3; do nsenter -n -t "$SWITCH" ip link set "port-etcd$number" "$1"; done
}

start_engines() {
  local host number=0
  scripts/engine.sh sweep
  scripts/engine.sh root $SUITE
  for host in "${HOSTS[@]}"; do
    GIPAM_OWNER=$$ scripts/engine.sh start "$TAG-$host" $SUITE >"$STATE/$host.engine" 2>&1 &
    STARTING+=($!)
  done
  for host in "${HOSTS[@]}"; do
    wait "${STARTING[0]}" || { cat "$STATE/$host.engine" >&2; fail "the Engine of host $host did not start"; }
    STARTING=("${STARTING[@]:1}")
    number=$((number + 1))
    connect "port-$host" "$(cat "$BASE/e/$TAG-$host/pid1")" "198.51.100.1$number" "2001:db8::1$number"
  done
  say "three hosts with Docker Engine $(on a docker version --format '{{.Server.Version}}')"
}

start_gipam() { configuration "$1" | run_gipam "$TAG-$1"; } # HOST

configuration() { # HOST
  local number
  case $1 in a) number=1 ;; b) number=2 ;; *) number=3 ;; esac
  cat <<LINES
[plan]
host = "$1"
via = ["198.51.100.1$number", "2001:db8::1$number"]
etcd = ["${ENDPOINTS//,/\", \"}"]
routes = "kernel"

[[pool]]
name = "routed"
v4 = { base = "10.8.0.0/16", size = 24, slice = 20 }
v6 = { base = "2001:db8:8::/48", size = 64, slice = 52 }

[[pool]]
name = "lan"
v4 = { base = "10.88.6.0/24", slice = 28, shared = true, gateway = "10.88.6.1" }
LINES
}

# --- after ----------------------------------------------------------------------------------------------------------

clean_up() {
  local code=$? host
  trap '' INT TERM
  set +e
  code=$(outcome $code)
  [ -n "$STATE" ] || exit "$code"
  if [ "$code" != 0 ]; then
    for host in "${HOSTS[@]}"; do
      echo "--- the log of gipam on host $host" >&2
      log_of "$TAG-$host" >&2
    done
  fi
  [ "${#STARTING[@]}" = 0 ] || kill "${STARTING[@]}" 2>/dev/null
  [ "${#STARTING[@]}" = 0 ] || wait "${STARTING[@]}" 2>/dev/null
  for host in "${HOSTS[@]}"; do scripts/engine.sh stop "$TAG-$host" & done
  # a member of etcd that is cut off from the others does not end on SIGTERM
  end_all
  exit "$code"
}

# --- demonstration --------------------------------------------------------------------------------------------------

# Starts a container on a host and notes its addresses on the network.
container() { # HOST NAME NETWORK
  show "$1" docker run -d --init --name "$2" --network "$3" bb sleep 86400 >"$STATE/$2.run"
  head -n 1 "$STATE/$2.run"
  on "$1" docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}' "$2" >"$STATE/$2.at"
}

# Checks that a container on a host reaches every address of another one.
reaches() { # HOST FROM TO
  local address
  local -a addresses
  read -r -a addresses <"$STATE/$3.at"
  for address in "${addresses[@]}"; do
    # the others learn of a new slice within a minute
    on "$1" docker exec "$2" ping -c 1 -w 75 "$address" >"$STATE/$2.ping" 2>&1 ||
      { cat "$STATE/$2.ping" >&2; fail "$2 on host $1 does not reach $3 at $address"; }
    printf '%s$ docker exec %s ping %s: answered by %s\n' "$1" "$2" "$address" "$3"
  done
}

# Every container with this name reaches those of the other hosts.
all_reach() { # NAME
  local from to
  for from in "${HOSTS[@]}"; do
    for to in "${HOSTS[@]}"; do [ "$from" = "$to" ] || reaches "$from" "$1-$from" "$1-$to"; done
  done
}

networks() { # HOST
  # shellcheck disable=SC2086
  show "$1" docker network create --ipv6 --ipam-driver gipam --ipam-opt pool=routed $ROUTED web
  container "$1" "web-$1" web
  show "$1" docker network create -d macvlan -o parent=lan0 --ipam-driver gipam --subnet 10.88.6.0/24 --gateway 10.88.6.1 lan
  container "$1" "lan-$1" lan
}

# More of the same, while etcd does not answer.
more() { # HOST
  # shellcheck disable=SC2086
  show "$1" docker network create --ipv6 --ipam-driver gipam --ipam-opt pool=routed $ROUTED more
  container "$1" "more-$1" more
  container "$1" "lan2-$1" lan
}

# What lies in no slice of the host cannot be had while etcd does not answer; the refusal comes soon and says why.
refused() {
  local began
  FREE=$(on a gipam slices | awk '$1 == "routed" && $4 == "free" && $2 !~ /:/ { sub("/.*", "/24", $2); print $2; exit }')
  began=$SECONDS
  ! show a docker network create --ipam-driver gipam --subnet "$FREE" other >"$STATE/refused" 2>&1 ||
    fail "host a created a network in a slice that it cannot have claimed"
  cat "$STATE/refused"
  [ $((SECONDS - began)) -le 4 ] || fail "the refusal took $((SECONDS - began)) s"
  grep -q 'etcd' "$STATE/refused" || fail "the refusal does not speak of etcd"
}

what_gipam_knows() {
  local host
  say "the hosts of the plan, and which host has which slice"
  show a gipam hosts
  show a gipam slices
  for host in "${HOSTS[@]}"; do
    say "host $host: its routes to the slices of the others, and its status"
    show "$host" ip route show proto 171
    show "$host" ip -6 route show proto 171
    show "$host" gipam status
  done
}

# Commands that root can paste into another shell.
lines() {
  local root=''
  [ -z "${SUDO_USER:-}" ] || root='sudo '
  cat <<LINES
$root$PWD/scripts/engine.sh exec $TAG-a gipam hosts
$root$PWD/scripts/engine.sh exec $TAG-a gipam slices
$root$PWD/scripts/engine.sh exec $TAG-b gipam status
$root$PWD/scripts/engine.sh exec $TAG-c ip route show proto 171
$root$PWD/scripts/engine.sh exec $TAG-a docker exec web-a ping -c 3 $(cut -d ' ' -f 1 "$STATE/web-c.at")
${root}nsenter -n -t $SWITCH sh -c 'for n in 1 2 3; do ip link set port-etcd\$n down; done'   # with up, etcd answers again
LINES
}

main() {
  build
  begin cluster
  start_lan
  start_engines
  start_etcd
  say "gipam on each host, and each host joins the plan that they keep in etcd"
  everywhere start_gipam
  show a gipam join --new
  show b gipam join
  show c gipam join

  say "on each host: a network of the routed pool, the network of the LAN, and a container in each"
  everywhere networks
  say "containers on different hosts reach each other without an overlay"
  all_reach web
  say "and those on the subnet that all hosts share"
  all_reach lan
  say "etcd is cut off: none of its members answers"
  etcd_links down
  ! etcd_answers "$(cat "$BASE/e/$TAG-a/pid1")" || fail "etcd still answers"
  members
  say "on each host: one more network and two more containers"
  everywhere more
  all_reach more
  all_reach lan2
  say "a subnet that lies in no slice of the host is refused"
  refused
  what_gipam_knows
  say "etcd answers again"
  etcd_links up
  for _ in $(seq 100); do
    etcd_answers "$(cat "$BASE/e/$TAG-a/pid1")" && break
    sleep 0.1
  done
  members
  show a docker network create --ipam-driver gipam --subnet "$FREE" other
  finish "serving until Ctrl-C, which removes everything. In another shell, with a, b or c as last letter of the host:"
}

main
