#!/bin/bash
# edge.sh run|demo - demonstrates IPv6 at a provider's edge, on this machine alone.
#
# A Docker Engine (engine.sh) with a gipam is in namespaces of its own, and a router in another one is the provider. First the
# provider puts a /64 on the link, as for a VPS, without a route to the host: gipam answers for its containers (ndp_proxy).
# Then the provider delegates a prefix to the host and replaces it by another one, as on a home line: gipam translates, and
# a container that goes on running is reached by the new prefix (translate). "run" then prints what to look at and serves
# until Ctrl-C; "demo" exits by itself, with code 0 only if every step succeeded. Either way only the Engine's root file
# system stays, in the cache. Needs root and Debian's apt.
set -euo pipefail
# shellcheck source=scripts/hosts.sh
. "$(dirname "$(readlink -f "$0")")/hosts.sh"

HOST=edge-$$
BUSYBOX=$BASE/roots/$SUITE/usr/bin/busybox
PROVIDER='' LAST='' ADDRESS=''
INTERNET=2001:db8:ffff::1

# Runs a command on the host.
on() { scripts/engine.sh exec "$HOST" "$@"; }

# Prints a command as a user of the host would type it, and runs it.
show() { printf 'host$ %s\n' "$*"; on "$@"; }

# Does the same on the provider's router.
provider() { printf 'provider$ %s\n' "$*"; nsenter -n -t "$PROVIDER" "$@"; }

# --- before ---------------------------------------------------------------------------------------------------------

# The provider's router: the host is on its link eth0, and the rest of the Internet is a web server on it.
start_provider() {
  local pid1
  pid1=$(cat "$BASE/e/$HOST/pid1")
  namespace
  PROVIDER=$!
  nsenter -n -t "$PROVIDER" sh -euc "ip link set lo up; ip addr add $INTERNET/128 dev lo
    ip link add to-host type veth peer name eth0 netns $pid1; ip link set to-host up
    ip addr add 2001:db8:b::1/64 dev to-host nodad"
  on sh -euc 'ip link set eth0 up; ip addr add 2001:db8:b::10/64 dev eth0 nodad; ip -6 route add default via 2001:db8:b::1'
  mkdir "$STATE/www"
  echo "a page of the Internet" >"$STATE/www/index.html"
  ours nsenter -n -t "$PROVIDER" "$BUSYBOX" httpd -f -v -p "[$INTERNET]:80" -h "$STATE/www" 2>"$STATE/visits"
}

start_engine() {
  scripts/engine.sh sweep
  scripts/engine.sh root $SUITE
  GIPAM_OWNER=$$ scripts/engine.sh start "$HOST" $SUITE >"$STATE/engine" 2>&1 || { cat "$STATE/engine" >&2; fail "the Engine did not start"; }
  say "a host with Docker Engine $(on docker version --format '{{.Server.Version}}')"
}

start_gipam() {
  mkdir -p "$(root_of "$HOST")/run/prefix"
  configuration
  configuration | run_gipam "$HOST" || fail "gipam does not answer"
}

configuration() {
  cat <<LINES
[[pool]]
name = "vps"
v4 = { base = "10.64.0.0/16" }
v6 = { base = "2001:db8:b:0:8000::/65", size = 80 }
ndp_proxy = "eth0"

[[pool]]
name = "home"
v4 = { base = "10.65.0.0/16" }
v6 = { base = "fd00:8::/56", size = 64 }
translate = "nptv6"
outer = "file:/run/prefix/56"
LINES
}

# --- after ----------------------------------------------------------------------------------------------------------

clean_up() {
  local code=$?
  trap '' INT TERM
  set +e
  code=$(outcome $code)
  [ -n "$STATE" ] || exit "$code"
  if [ "$code" != 0 ]; then
    echo "--- the log of gipam" >&2
    log_of "$HOST" >&2
  fi
  scripts/engine.sh stop "$HOST"
  end_all
  exit "$code"
}

# --- demonstration --------------------------------------------------------------------------------------------------

# Starts a container with a web server, and notes its IPv6 address in ADDRESS.
container() { # NAME NETWORK
  show docker run -d --init --name "$1" --network "$2" -p 80 bb sh -c "echo the page of $1 >/tmp/index.html; exec httpd -f -p 80 -h /tmp"
  ADDRESS=$(on docker inspect --format '{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}{{end}}' "$1")
  printf 'the container has %s\n' "$ADDRESS"
}

network() { # NAME POOL
  show docker network create --ipv6 --ipam-driver gipam --ipam-opt "pool=$2" -o com.docker.network.bridge.gateway_mode_ipv6=routed "$1"
}

# Reads a page from the provider's side; the container's server may just be starting.
from_outside() { # ADDRESS
  local i
  printf 'provider$ wget -O - http://[%s]/\n' "$1"
  for ((i = 0; i < 20; i++)); do
    nsenter -n -t "$PROVIDER" "$BUSYBOX" wget -q -T 2 -O - "http://[$1]/" 2>"$STATE/wget" && return
    sleep 0.1
  done
  cat "$STATE/wget" >&2
  fail "$1 is not reached from outside"
}

# Reads a page of the Internet in a container; prints as whom the Internet saw it.
from_inside() { # NAME
  local before
  before=$(wc -l <"$STATE/visits")
  show docker exec "$1" wget -q -T 5 -O - "http://[$INTERNET]/" || fail "$1 does not reach the Internet"
  tail -n "+$((before + 1))" "$STATE/visits" | sed -n 's/^\(\[[^]]*\]\).*/the visitor was \1/p' | head -n 1
}

on_link() {
  say "the provider's /64 is on the link: its router asks there for each address, and has no route to the host"
  nsenter -n -t "$PROVIDER" ip -6 route show 2001:db8:b::/64
  network vps vps
  container one vps
  show ip -6 neigh show proxy
  from_outside "$ADDRESS"
  from_inside one
  show docker rm -f one
  until_gone
  ! nsenter -n -t "$PROVIDER" "$BUSYBOX" wget -q -T 2 -O - "http://[$ADDRESS]/" 2>/dev/null || fail "$ADDRESS is still reached"
  echo "after its end, gipam does not answer for the container any more"
}

until_gone() {
  local i
  for ((i = 0; i < 100; i++)); do
    [ -n "$(on ip -6 neigh show proxy | grep "$ADDRESS")" ] || return 0
    sleep 0.1
  done
  fail "there is still an entry for $ADDRESS"
}

# The provider sends this prefix to the host from now on. A hook of the host's DHCP client writes it down.
delegate() { # PREFIX
  [ -z "$LAST" ] || provider ip -6 route del "$LAST"
  provider ip -6 route add "$1" via 2001:db8:b::10
  show sh -euc "echo $1 >/run/prefix/new; mv /run/prefix/new /run/prefix/56"
  LAST=$1
}

# The outer address of the container.
outer() { echo "${LAST%::/56}${ADDRESS#fd00:8}"; }

changing() {
  say "the provider delegates a prefix, and a container gets an address that does not depend on it"
  delegate 2001:db8:a1:100::/56
  network home home
  container two home
  from_inside two
  from_outside "$(outer)"
  say "the provider delegates another prefix; nothing is recreated or restarted"
  delegate 2001:db8:c2:200::/56
  from_outside "$(outer)"
  from_inside two
  show docker ps --format '{{.Names}} {{.Status}}'
  show gipam status
}

# Commands that root can paste into another shell.
lines() {
  local root=''
  [ -z "${SUDO_USER:-}" ] || root='sudo '
  cat <<LINES
$root$PWD/scripts/engine.sh exec $HOST gipam leases
$root$PWD/scripts/engine.sh exec $HOST gipam status
$root$PWD/scripts/engine.sh exec $HOST ip -6 neigh show proxy
${root}nsenter -n -t $PROVIDER $BUSYBOX wget -q -O - http://[$(outer)]/
LINES
}

main() {
  build
  begin edge
  start_engine
  start_provider
  say "gipam, with one pool for each part"
  start_gipam
  on_link
  changing
  finish "serving until Ctrl-C, which removes everything. In another shell:"
}

main
