#!/bin/bash
# demo.sh run|demo - gipam at work on this machine's Docker Engine.
#
# Builds gipam (the same program that packages carry), starts it under the driver name gipam-demo with pools, books and a
# page of its own, makes a dual-stack network and two containers from an image made on the spot, lets them reach each other
# on both families, and shows the books. "run" then prints what to type in another shell and serves until Ctrl-C; "demo"
# ends by itself, with exit code 0 only if every step was true. Either way all that it made is removed again. Where no
# Docker Engine answers, Debian's docker.io package is installed (and stays installed) and started for the time being.
set -euo pipefail
cd "$(dirname "$0")/.."
MODE=${1:-run}
case $MODE in run | demo) ;; *) echo "usage: demo.sh run|demo" >&2; exit 2 ;; esac

NAME=gipam-demo
PLUGIN=/run/docker/plugins/$NAME.sock
V4=10.213.0.0/16
V6=fd13:2130::/48
GIPAM=${GIPAM_BINARY:-}
unset GIPAM_BINARY # gipam would wonder at it
STATE='' GIPAM_PID='' SERVING='' DOCKERD_PID='' PORT='' URL='' NAMESPACE=() STARTED=() MADE=()

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
fail() { echo "demo.sh: $*" >&2; exit 1; }

# Runs a command, showing it as a user types it.
show() { printf '$ %s\n' "$*"; "$@"; }

# --- before ---------------------------------------------------------------------------------------------------------

build() {
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
    fail "root is needed to put a driver where Docker looks for it: run this as root"
  if [ -z "$GIPAM" ]; then
    say "building gipam: target/package/gipam, the program that make build and the packages use, too"
    [ -e target/package/gipam ] ||
      echo "The first time cargo compiles about 120 crates, six minutes of processor time; the last one, gipam, takes longest."
    scripts/package.sh program
    GIPAM=${GIPAM_OUT:-$PWD/target/package}/gipam
  fi
  [ "$(id -u)" = 0 ] || exec sudo --preserve-env=DOCKER_HOST "GIPAM_BINARY=$GIPAM" "$0" "$MODE"
}

# Docker looks for drivers on its own machine only, so only an Engine behind a UNIX socket will do.
find_engine() {
  case ${DOCKER_HOST:-} in unix://* | "") ;; *) unset DOCKER_HOST ;; esac
  export DOCKER_HOST=${DOCKER_HOST:-unix:///var/run/docker.sock}
  command -v docker >/dev/null && docker version >/dev/null 2>&1
}

install_engine() {
  local unit packages=(docker.io)
  if [ -d /run/systemd/system ]; then # the package starts these, too
    for unit in docker.socket docker.service containerd.service; do
      systemctl --quiet is-active "$unit" || STARTED+=("$unit")
    done
  fi
  command -v dockerd >/dev/null && command -v docker >/dev/null && return
  command -v apt-get >/dev/null || fail "no Docker Engine answers here: install one (https://docs.docker.com/engine/install/) and start it"
  say "no Docker Engine answers: installing Debian's docker.io"
  apt-cache show docker.io >/dev/null 2>&1 || apt-get update -q
  # from trixie on, the client is a package of its own
  ! apt-cache show docker-cli >/dev/null 2>&1 || packages+=(docker-cli)
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q "${packages[@]}" >"$STATE/install.log" 2>&1 ||
    { tail -n 20 "$STATE/install.log" >&2; fail "docker.io could not be installed"; }
  echo "docker.io is installed, and will stay installed"
}

start_engine() {
  local dir
  if [ -d /run/systemd/system ]; then
    systemctl start docker
  else
    # No service manager: dockerd runs for the time being, in a network namespace of its own, so that no bridge and no
    # firewall rule of it stays; its data lies next to ours.
    say "starting dockerd for the time being"
    for dir in /run/docker /run/containerd /etc/docker; do [ -d "$dir" ] || MADE+=("$dir"); done
    mkdir -p /etc/docker
    # shellcheck disable=SC2016 # expanded inside
    setsid unshare -m -n sh -euc 'mount -t tmpfs none /etc/docker; "$0" ip link set lo up; exec dockerd "$@"' \
      "$STATE/busybox" --host "unix://$STATE/docker.sock" --data-root "$STATE/docker" --exec-root "$STATE/exec" \
      --pidfile "$STATE/docker.pid" --cgroup-parent "/$NAME" >"$STATE/dockerd.log" 2>&1 </dev/null &
    DOCKERD_PID=$!
    NAMESPACE=(nsenter -t "$DOCKERD_PID" -n --)
    export DOCKER_HOST=unix://$STATE/docker.sock
  fi
  for _ in $(seq 300); do
    docker version >/dev/null 2>&1 && return
    [ -z "$DOCKERD_PID" ] || kill -0 "$DOCKERD_PID" 2>/dev/null ||
      { tail -n 5 "$STATE/dockerd.log" >&2; fail "dockerd ended at its start"; }
    sleep 0.1
  done
  fail "the Docker Engine does not answer"
}

# A busybox that needs no libraries: the machine's own, or the one in Debian's package, which is only unpacked.
find_busybox() {
  local own
  own=$(command -v busybox || true)
  if [ -n "$own" ] && ! ldd "$own" >/dev/null 2>&1; then
    cp "$own" "$STATE/busybox"
    return
  fi
  command -v apt-get >/dev/null || fail "a static busybox is needed for the image: install busybox-static"
  apt-cache show busybox-static >/dev/null 2>&1 || apt-get update -q
  (cd "$STATE" && apt-get download -q -o APT::Sandbox::User=root busybox-static >/dev/null &&
    dpkg -x busybox-static_*.deb unpacked) || fail "cannot get busybox-static"
  cp "$(find "$STATE/unpacked" -path '*bin/busybox' -type f | head -n 1)" "$STATE/busybox"
}

# --- after ----------------------------------------------------------------------------------------------------------

# Our containers, and every network that has its addresses from us: without the driver it would be stuck.
remove_ours() {
  local network container
  docker ps -aq --filter "label=$NAME" | xargs -r docker rm -f >/dev/null
  for network in $(docker network ls -q --filter type=custom); do
    [ "$(docker network inspect --format '{{.IPAM.Driver}}' "$network")" = "$NAME" ] || continue
    for container in $(docker network inspect --format '{{range .Containers}}{{.Name}} {{end}}' "$network"); do
      docker network disconnect -f "$network" "$container"
    done
    docker network rm "$network" >/dev/null
  done
}

clean_up() {
  local code=$? dir
  trap '' INT TERM
  set +e
  [ "$MODE$code" != run130 ] || { code=0; echo; }
  [ -n "$STATE" ] || exit "$code"
  if [ "$code" != 0 ] && [ -f "$STATE/gipam.log" ]; then
    echo "--- gipam's log" >&2
    tail -n 15 "$STATE/gipam.log" >&2
  fi
  if [ -n "$SERVING" ]; then # else they are another demo's
    remove_ours
    docker image rm -f "$NAME" >/dev/null 2>&1
  fi
  if [ -n "$GIPAM_PID" ]; then
    kill "$GIPAM_PID" 2>/dev/null
    wait "$GIPAM_PID" 2>/dev/null
  fi
  if [ "${#STARTED[@]}" -gt 0 ]; then
    systemctl stop "${STARTED[@]}"
    echo "the docker service, started for this, is stopped again; docker.io stays installed"
  fi
  if [ -n "$DOCKERD_PID" ]; then
    kill "$DOCKERD_PID" 2>/dev/null
    wait "$DOCKERD_PID" 2>/dev/null
    for dir in "/sys/fs/cgroup/$NAME" /sys/fs/cgroup/*/"$NAME"; do [ ! -d "$dir" ] || rmdir "$dir"; done
    grep -s "$STATE" /proc/self/mounts | cut -d ' ' -f 2 | sort -r | xargs -r -n 1 umount
    echo "dockerd, started for this, is stopped again; docker.io stays installed"
  fi
  # only what was not there before, and is empty but for dockerd's own leavings in /run
  for dir in "${MADE[@]}"; do
    case $dir in /run/docker/plugins | /etc/docker) rmdir "$dir" 2>/dev/null ;; *) rm -rf "$dir" ;; esac
  done
  rm -rf "$STATE"
  exit "$code"
}

# --- the show -------------------------------------------------------------------------------------------------------

# The page's port: that of the documentation, or one of the next where something listens there.
free_port() {
  local port
  for port in $(seq 9468 9499); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
  fail "no port between 9468 and 9499 is free for the page"
}

# Runs a command with a socket that listens on this machine's loopback, as systemd would pass it: the command itself may be
# in a network namespace that no browser reaches.
# shellcheck disable=SC2016 # the dollars are perl's
with_page() { # PORT COMMAND...
  exec setsid perl -MIO::Socket::INET -e '
    $^F = 10; my $port = shift;
    my $socket = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $port, Listen => 64, ReuseAddr => 1) or die "port $port: $!\n";
    if (fileno $socket != 3) { require POSIX; POSIX::dup2(fileno $socket, 3) or die "$!\n" }
    @ENV{qw(LISTEN_FDS LISTEN_FDNAMES LISTEN_PID)} = (1, "http", $$);
    exec @ARGV or die "$ARGV[0]: $!\n"' "$@"
}

start_gipam() {
  local serve
  [ -d "${PLUGIN%/*}" ] || MADE+=("${PLUGIN%/*}")
  # a configuration of its own: not the machine's, and with the Engine that the demo uses
  printf '[gc]\nengine = "%s"\n' "${DOCKER_HOST#unix://}" >"$STATE/gipam.toml"
  PORT=$(free_port)
  URL=http://127.0.0.1:$PORT/
  serve=("$GIPAM" serve --name "$NAME" --file "$STATE/gipam.db" --admin "$STATE/admin.sock" --config "$STATE/gipam.toml"
    --http "$PORT" -v4 "$V4" -v6 "$V6")
  if [ -z "$DOCKERD_PID" ]; then
    setsid "${serve[@]}" >"$STATE/gipam.log" 2>&1 </dev/null &
  else
    with_page "$PORT" "${NAMESPACE[@]}" "${serve[@]}" >"$STATE/gipam.log" 2>&1 </dev/null &
  fi
  GIPAM_PID=$!
  for _ in $(seq 100); do
    ! gipam status >/dev/null 2>&1 || { SERVING=1; return; }
    kill -0 "$GIPAM_PID" 2>/dev/null || fail "gipam ended at its start"
    sleep 0.1
  done
  fail "gipam does not answer"
}

gipam() { "$GIPAM" --admin "$STATE/admin.sock" "$@"; }

# The address of a container: 1 for IPv4, 2 for IPv6.
address() {
  docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}' "$1" |
    cut -d ' ' -f "$2"
}

# Whether the books hold exactly what Docker shows for a container.
leased() {
  local family
  for family in 1 2; do
    gipam leases --json | grep -q "\"$(address "$1" $family)\"" || fail "$(address "$1" $family) of $1 is not in the books"
  done
}

# Engines before 29 do not send container names; gipam learns it from their API a moment later.
wait_for_names() {
  local tries
  for tries in $(seq 200); do
    [ "$(gipam leases --json | grep -o "\"holder\":\"$NAME-[12]\"" | wc -l)" = 4 ] && return
    sleep 0.1
  done
  gipam leases
  fail "gipam has not learned the containers' names after $tries looks"
}

make_image() {
  local dir=$STATE/image applet
  mkdir -p "$dir/bin" "$dir/tmp"
  cp "$STATE/busybox" "$dir/bin/busybox"
  for applet in sh sleep ping ip cat; do ln -s busybox "$dir/bin/$applet"; done
  tar -C "$dir" -c . | docker import - "$NAME" >/dev/null
}

# The page is where the last line of `run` says.
page_answers() {
  exec 3<>"/dev/tcp/127.0.0.1/$PORT" || fail "nothing listens at $URL"
  printf 'GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
  grep -q '200 OK' <&3 || fail "the page at $URL does not answer"
  exec 3>&-
}

# Ready to paste into another shell of any user.
what_to_type() {
  local root='' docker=docker
  [ -z "${SUDO_USER:-}" ] || root='sudo '
  [ "$DOCKER_HOST" = unix:///var/run/docker.sock ] || docker="docker --host $DOCKER_HOST"
  say "serving until Ctrl-C, which removes everything again. In another shell:"
  cat <<LINES
$root$GIPAM --admin $STATE/admin.sock status
$root$GIPAM --admin $STATE/admin.sock top
$root$docker network create --ipv6 --ipam-driver $NAME mine
$root$docker run --rm -it --network mine $NAME sh
LINES
  echo "In a browser: $URL"
}

# Whether those lines do what they promise, without a terminal.
lines_work() {
  local lines
  lines=$(what_to_type)
  line() { grep -m 1 -F -- "$1" <<<"$lines"; }
  sh -c "$(line ' status')" | grep -q '^gipam .* is .*running' || fail "the line for status does not work"
  { timeout 5 sh -c "$(line ' top')" || true; } | grep -q -m 1 'gipam is running' || fail "the line for top does not work"
  sh -c "$(line 'network create')" >/dev/null || fail "the line that makes a network does not work"
  sh -c "$(line ' run --rm' | sed 's/ -it / /; s/ sh$/ ip addr show/')" | grep -q 'inet ' || fail "the line that runs a container does not work"
  line "$URL" >/dev/null || fail "the page is not told"
}

main() {
  build
  trap clean_up EXIT
  trap 'exit 130' INT TERM
  STATE=$(mktemp -d "${TMPDIR:-/tmp}/gipam-demo.XXXXXX")
  find_busybox
  find_engine || { install_engine; find_engine || start_engine; }
  say "Docker Engine $(docker version --format '{{.Server.Version}}')"
  start_gipam
  remove_ours # of a run that was killed
  make_image

  say "a network that says no more than IPv6, and who gives addresses"
  show docker network create --ipv6 --ipam-driver $NAME --label $NAME $NAME
  say "two containers"
  show docker run -d --init --name $NAME-1 --label $NAME --network $NAME $NAME sleep 86400
  show docker run -d --init --name $NAME-2 --label $NAME --network $NAME $NAME sleep 86400
  say "they reach each other, over IPv4 and IPv6"
  show docker exec $NAME-1 ping -c 2 -w 10 "$(address $NAME-2 1)"
  show docker exec $NAME-1 ping -c 2 -w 10 "$(address $NAME-2 2)"
  wait_for_names
  say "what gipam knows"
  for view in pools subnets leases; do
    printf '$ gipam %s\n' $view
    gipam $view
  done
  leased $NAME-1
  leased $NAME-2
  page_answers
  if [ "$MODE" = run ]; then
    what_to_type
    wait "$GIPAM_PID"
    fail "gipam ended"
  fi
  lines_work
  say "all removed, and the books are empty"
  remove_ours
  for view in subnets leases; do
    [ "$(gipam $view --json)" = "[]" ] || { gipam $view; fail "still in the books"; }
  done
  echo "every step was true"
}

main
