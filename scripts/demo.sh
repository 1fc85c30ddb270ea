#!/bin/bash
# demo.sh run|demo - demonstrates gipam on this machine's Docker Engine.
#
# Builds gipam (the same program that the packages contain), starts it as driver gipam-demo with its own pools, books
# and web page, creates a dual-stack network and two containers from an image built on the spot, pings one from the
# other over IPv4 and IPv6, and shows the books. "run" then prints what to type in another shell and serves until
# Ctrl-C; "demo" exits by itself, with code 0 only if every step succeeded. Either way the script removes everything
# that it created. If no Docker Engine answers, it installs Debian's docker.io package (which stays installed) and
# starts it for the duration of the demo.
set -euo pipefail
cd "$(dirname "$0")/.."
MODE=${1:-run}
case $MODE in run | demo) ;; *) echo "usage: demo.sh run|demo" >&2; exit 2 ;; esac

NAME=gipam-demo
PLUGIN=/run/docker/plugins/$NAME.sock
V4=10.213.0.0/16
V6=fd13:2130::/48
GIPAM=${GIPAM_BINARY:-}
unset GIPAM_BINARY # gipam warns about GIPAM_ variables that it does not know
STATE='' GIPAM_PID='' SERVING='' DOCKERD_PID='' PORT='' URL='' NAMESPACE=() STARTED=() MADE=()

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
fail() { echo "demo.sh: $*" >&2; exit 1; }

# Prints a command as a user would type it, and runs it.
show() { printf '$ %s\n' "$*"; "$@"; }

# --- before ---------------------------------------------------------------------------------------------------------

build() {
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
    fail "only root can create a socket where Docker looks for drivers: run this as root"
  if [ -z "$GIPAM" ]; then
    say "building target/package/gipam, the same program that make build and the packages use"
    [ -e target/package/gipam ] ||
      echo "The first build compiles about 120 crates in six minutes of processor time; the last crate, gipam, takes longest."
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
  if [ -d /run/systemd/system ]; then # the package also starts these
    for unit in docker.socket docker.service containerd.service; do
      systemctl --quiet is-active "$unit" || STARTED+=("$unit")
    done
  fi
  command -v dockerd >/dev/null && command -v docker >/dev/null && return
  command -v apt-get >/dev/null || fail "no Docker Engine answers here: install one (https://docs.docker.com/engine/install/) and start it"
  say "no Docker Engine answers: installing Debian's docker.io"
  apt-cache show docker.io >/dev/null 2>&1 || apt-get update -q
  # from trixie on, the client is in a separate package
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
    # No service manager: dockerd runs for the duration of the demo, in its own network namespace, so that its bridges
    # and firewall rules disappear with it; its data is stored next to ours.
    say "starting dockerd for the duration of the demo"
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
      { tail -n 5 "$STATE/dockerd.log" >&2; fail "dockerd exited during startup"; }
    sleep 0.1
  done
  fail "the Docker Engine does not answer"
}

# Finds a statically linked busybox: the machine's own, or the one in Debian's package, which is unpacked but not
# installed.
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

# Removes our containers, and every network of this driver: without the driver, Docker would wait 15 s for each address.
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
  if [ -n "$SERVING" ]; then # otherwise they belong to another demo
    remove_ours
    docker image rm -f "$NAME" >/dev/null 2>&1
  fi
  if [ -n "$GIPAM_PID" ]; then
    kill "$GIPAM_PID" 2>/dev/null
    wait "$GIPAM_PID" 2>/dev/null
  fi
  if [ "${#STARTED[@]}" -gt 0 ]; then
    systemctl stop "${STARTED[@]}"
    echo "stopped the docker service, which this demo had started"
  fi
  if [ -n "$DOCKERD_PID" ]; then
    kill "$DOCKERD_PID" 2>/dev/null
    wait "$DOCKERD_PID" 2>/dev/null
    for dir in "/sys/fs/cgroup/$NAME" /sys/fs/cgroup/*/"$NAME"; do [ ! -d "$dir" ] || rmdir "$dir"; done
    grep -s "$STATE" /proc/self/mounts | cut -d ' ' -f 2 | sort -r | xargs -r -n 1 umount
    echo "stopped dockerd, which this demo had started"
  fi
  # remove only directories that did not exist before; in /run, dockerd may have left files in them
  for dir in "${MADE[@]}"; do
    case $dir in /run/docker/plugins | /etc/docker) rmdir "$dir" 2>/dev/null ;; *) rm -rf "$dir" ;; esac
  done
  rm -rf "$STATE"
  exit "$code"
}

# --- demonstration -------------------------------------------------------------------------------------------------------

# Prints a port for the page: the one in the documentation, or the next free one if something already listens there.
free_port() {
  local port
  for port in $(seq 9468 9499); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
  fail "no port between 9468 and 9499 is free for the page"
}

# Runs a command with a socket that listens on this machine's loopback, passed as systemd would pass it: the command
# itself may run in a network namespace that a browser cannot reach.
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
  # its own configuration instead of the machine's, with the Engine that the demo uses
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
    kill -0 "$GIPAM_PID" 2>/dev/null || fail "gipam exited during startup"
    sleep 0.1
  done
  fail "gipam does not answer"
}

gipam() { "$GIPAM" --admin "$STATE/admin.sock" "$@"; }

# Prints the address of a container: 1 for IPv4, 2 for IPv6.
address() {
  docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}' "$1" |
    cut -d ' ' -f "$2"
}

# Checks that the books contain the addresses that Docker shows for a container.
leased() {
  local family
  for family in 1 2; do
    gipam leases --json | grep -q "\"$(address "$1" $family)\"" || fail "$(address "$1" $family) of $1 is not in the books"
  done
}

# Engines before 29 do not send container names; gipam learns them from the API a moment later.
wait_for_names() {
  local tries
  for tries in $(seq 200); do
    [ "$(gipam leases --json | grep -o "\"holder\":\"$NAME-[12]\"" | wc -l)" = 4 ] && return
    sleep 0.1
  done
  gipam leases
  fail "gipam has not learned the containers' names after $tries checks"
}

make_image() {
  local dir=$STATE/image applet
  mkdir -p "$dir/bin" "$dir/tmp"
  cp "$STATE/busybox" "$dir/bin/busybox"
  for applet in sh sleep ping ip cat; do ln -s busybox "$dir/bin/$applet"; done
  tar -C "$dir" -c . | docker import - "$NAME" >/dev/null
}

# Checks that the page answers at the URL that `run` prints last.
page_answers() {
  exec 3<>"/dev/tcp/127.0.0.1/$PORT" || fail "nothing listens at $URL"
  printf 'GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
  grep -q '200 OK' <&3 || fail "the page at $URL does not answer"
  exec 3>&-
}

# Prints commands that any user can paste into another shell.
what_to_type() {
  local root='' docker=docker
  [ -z "${SUDO_USER:-}" ] || root='sudo '
  [ "$DOCKER_HOST" = unix:///var/run/docker.sock ] || docker="docker --host $DOCKER_HOST"
  say "serving until Ctrl-C, which removes everything. In another shell:"
  cat <<LINES
$root$GIPAM --admin $STATE/admin.sock status
$root$GIPAM --admin $STATE/admin.sock top
$root$docker network create --ipv6 --ipam-driver $NAME mine
$root$docker run --rm -it --network mine $NAME sh
LINES
  echo "In a browser: $URL"
}

# Checks without a terminal that these commands work.
lines_work() {
  local lines
  lines=$(what_to_type)
  line() { grep -m 1 -F -- "$1" <<<"$lines"; }
  sh -c "$(line ' status')" | grep -q '^gipam .* is .*running' || fail "the line for status does not work"
  { timeout 5 sh -c "$(line ' top')" || true; } | grep -q -m 1 'gipam is running' || fail "the line for top does not work"
  sh -c "$(line 'network create')" >/dev/null || fail "the line that creates a network does not work"
  sh -c "$(line ' run --rm' | sed 's/ -it / /; s/ sh$/ ip addr show/')" | grep -q 'inet ' || fail "the line that runs a container does not work"
  line "$URL" >/dev/null || fail "the URL of the page is missing"
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
  remove_ours # left over from a run that was killed
  make_image

  say "a network, created only with --ipv6 and the IPAM driver"
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
  say "removing everything; the books must be empty afterwards"
  remove_ours
  for view in subnets leases; do
    [ "$(gipam $view --json)" = "[]" ] || { gipam $view; fail "still in the books"; }
  done
  echo "every step succeeded"
}

main
