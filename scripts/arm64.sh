#!/bin/bash
# arm64.sh - builds the packages for arm64 and tests their program, emulated by qemu unless this machine is arm64.
#
# Builds the Debian package, the tarball and the managed plugin (package.sh), inspects them, and acts as the Engine
# for a daemon: subnet, addresses, kill -9, restart, TLS. Uses a network namespace of its own and leaves nothing
# behind except target/package/aarch64. It does not run a Docker Engine or a machine. Needs root, curl and openssl; if
# qemu-user-static is missing, installs it and leaves it installed. Exit code 0 only if every step succeeded.
set -euo pipefail
SELF=$(readlink -f "$0")
cd "$(dirname "$SELF")/.."

fail() { echo "arm64.sh: $*" >&2; [ ! -s "${PLACE:-}/log" ] || tail -n 20 "$PLACE/log" >&2; exit 1; }
say() { printf 'ok     %s\n' "$*"; }

OUT=$PWD/target/package
RUN=()
[ "$(uname -m)" = aarch64 ] || { OUT=$OUT/aarch64; RUN=(qemu-aarch64-static); }
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p;/^version/q' Cargo.toml)
PROGRAM=$OUT/gipam
# Runs gipam COMMAND... for arm64.
gipam() { "${RUN[@]}" "$PROGRAM" "$@"; }

tools() {
  local tool missing=()
  for tool in "${RUN[0]:-sh}:qemu-user-static" curl:curl openssl:openssl ip:iproute2 unshare:util-linux; do
    command -v "${tool%:*}" >/dev/null || missing+=("${tool#*:}")
  done
  [ "${#missing[@]}" -gt 0 ] || return 0
  command -v apt-get >/dev/null || fail "please install: ${missing[*]}"
  apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
}

# Checks that names and labels say arm64, and that all three packages contain the same program.
packages() {
  local deb=$OUT/gipam_${VERSION}_arm64.deb name=gipam-$VERSION-aarch64-linux size
  [ "$(dpkg-deb -f "$deb" Architecture)" = arm64 ] || fail "$deb is not for arm64"
  dpkg-deb --fsys-tarfile "$deb" | tar -xO ./usr/bin/gipam | cmp - "$PROGRAM"
  tar -xzOf "$OUT/$name.tar.gz" "$name/gipam" | cmp - "$PROGRAM"
  cmp "$OUT/plugin/rootfs/gipam" "$PROGRAM"
  say "the .deb (arm64), the tarball ($name) and the plugin contain the same program"
  # a dynamic program names its loader near the beginning
  ! head -c 4096 "$PROGRAM" | grep -aq ld-linux || fail "the program is dynamic"
  size=$(stat -c %s "$PROGRAM")
  [ "$size" -le $((10 << 20)) ] || fail "$size bytes are more than 10 MiB"
  say "it is static, $size bytes"
}

# Tests the commands that need no daemon.
alone() {
  [ "$(gipam --version)" = "gipam $VERSION" ] || fail "gipam --version: $(gipam --version)"
  gipam config check packaging/gipam.toml >/dev/null || fail "the sample configuration is refused"
  say "gipam --version, gipam config check"
}

# Starts the daemon, and waits until it answers.
start() { # OPTION...
  "${RUN[@]}" "$PROGRAM" serve --config "$PLACE/gipam.toml" --file "$PLACE/gipam.db" --admin "$PLACE/admin.sock" "$@" >>"$PLACE/log" 2>&1 &
  DAEMON=$!
  local _
  for _ in $(seq 600); do
    gipam status --admin "$PLACE/admin.sock" >/dev/null 2>&1 && return
    kill -0 "$DAEMON" 2>/dev/null || fail "the daemon ended"
    sleep 0.1
  done
  fail "the daemon does not answer"
}

stop() { # SIGNAL EXIT_CODE
  local code=0
  kill "-$1" "$DAEMON"
  wait "$DAEMON" 2>/dev/null || code=$?
  DAEMON=
  [ "$code" = "$2" ] || fail "after SIG$1 the daemon ended with $code"
}

# ask METHOD BODY: sends a request as the Engine does, to the URL WHERE, with curl's options DOOR.
ask() { curl -sS --max-time 30 "${DOOR[@]}" "$WHERE/$1" -d "$2"; }
# field NAME: prints a field of an answer.
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

calls() {
  local subnet held id address answer
  ip link add gipam0 type veth peer name gipam1
  ip link set gipam1 up
  ip link set gipam0 up
  ip address add 198.51.100.1/28 dev gipam0
  ip route add 198.51.100.16/28 dev gipam0
  start --socket "$PLACE/gipam.sock"
  DOOR=(--unix-socket "$PLACE/gipam.sock") WHERE=http://plugin
  ask Plugin.Activate '{}' | grep -q IpamDriver || fail "Plugin.Activate does not answer IpamDriver"
  answer=$(ask IpamDriver.RequestPool '{"AddressSpace":"local","Pool":"","SubPool":"","Options":{},"V6":false}')
  subnet=$(field Pool <<<"$answer") id=$(field PoolID <<<"$answer")
  [ "$subnet" = 198.51.100.32/28 ] || fail "expected the third subnet, because an interface has the first and a route the second: $answer"
  say "RequestPool: $subnet, because netlink shows an interface in the first subnet and a route to the second"
  answer=$(ask IpamDriver.RequestPool '{"AddressSpace":"local","Pool":"","SubPool":"","Options":{},"V6":true}')
  [ "$(field Pool <<<"$answer")" = 2001:db8::/64 ] || fail "IPv6: $answer"
  answer=$(ask IpamDriver.RequestAddress "{\"PoolID\":\"$id\",\"Address\":\"\",\"Options\":{\"RequestAddressType\":\"com.docker.network.gateway\"}}")
  [ "$(field Address <<<"$answer")" = 198.51.100.33/28 ] || fail "the gateway: $answer"
  held=$(ask IpamDriver.RequestAddress "{\"PoolID\":\"$id\",\"Address\":\"\",\"Options\":{\"com.docker.network.endpoint.macaddress\":\"02:42:c6:33:64:12\"}}")
  address=$(ask IpamDriver.RequestAddress "{\"PoolID\":\"$id\",\"Address\":\"\",\"Options\":{}}" | field Address)
  held=$(field Address <<<"$held")
  [ "$held $address" = "198.51.100.34/28 198.51.100.35/28" ] || fail "RequestAddress: $held, $address"
  [ "$(ask IpamDriver.ReleaseAddress "{\"PoolID\":\"$id\",\"Address\":\"${address%/*}\"}")" = '{}' ] || fail "ReleaseAddress"
  say "RequestAddress: $held, $address; ReleaseAddress: ${address%/*}"

  stop KILL 137
  start --socket "$PLACE/gipam.sock"
  answer=$(gipam leases --admin "$PLACE/admin.sock")
  grep -q "${held%/*} .*leased" <<<"$answer" || fail "after kill -9 $held is not leased: $answer"
  ! grep -q "${address%/*} .*leased" <<<"$answer" || fail "after kill -9 $address is leased: $answer"
  answer=$(ask IpamDriver.RequestAddress "{\"PoolID\":\"$id\",\"Address\":\"${held%/*}\",\"Options\":{}}")
  grep -q 'already in use' <<<"$answer" || fail "$held is given twice: $answer"
  say "kill -9 and restart: $held is leased, ${address%/*} is not"
  [ "$(ask IpamDriver.ReleasePool "{\"PoolID\":\"$id\"}")" = '{}' ] || fail "ReleasePool"
  stop TERM 0
  [ ! -e "$PLACE/gipam.sock" ] || fail "the socket is left behind"
  say "ReleasePool; SIGTERM ends it with 0"
}

# Creates a CA, gipam's certificate and the Engine's.
certificates() {
  local name
  cd "$PLACE"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
  for name in gipam engine; do
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" -keyout "$name.key" -out "$name.csr"
    openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out "$name.pem" -extfile - <<EXTENSIONS
subjectAltName=IP:127.0.0.1
extendedKeyUsage=$([ $name = gipam ] && echo serverAuth || echo clientAuth)
EXTENSIONS
  done
}

tls() {
  local version answer
  ip link set lo up
  (certificates >"$PLACE/openssl.log" 2>&1) || fail "cannot create certificates: $(tail -n 3 "$PLACE/openssl.log")"
  cat >>"$PLACE/gipam.toml" <<TOML
[tls]
cert = "$PLACE/gipam.pem"
key = "$PLACE/gipam.key"
client_ca = "$PLACE/ca.pem"
TOML
  start -address 127.0.0.1:9090
  grep -q 127.0.0.1:9090 "$PLACE/spec/gipam.json" || fail "the plugin file does not name the address"
  WHERE=https://127.0.0.1:9090
  for version in 1.2 1.3; do
    DOOR=(--cacert "$PLACE/ca.pem" --cert "$PLACE/engine.pem" --key "$PLACE/engine.key" "--tlsv$version" --tls-max "$version")
    answer=$(ask IpamDriver.GetDefaultAddressSpaces '{}')
    [ "$(field LocalDefaultAddressSpace <<<"$answer")" = local ] || fail "TLS $version: $answer"
  done
  DOOR=(--cacert "$PLACE/ca.pem")
  ! ask IpamDriver.GetDefaultAddressSpaces '{}' >/dev/null 2>&1 || fail "gipam answers a client without a certificate"
  stop TERM 0
  say "TLS 1.2 and 1.3: a client with a certificate is served, a client without one is refused"
}

inside() {
  PLACE=$(mktemp -d) DAEMON=
  trap 'if [ -n "$DAEMON" ]; then { kill -9 "$DAEMON"; wait "$DAEMON"; } 2>/dev/null || true; fi; rm -rf "$PLACE"' EXIT
  mkdir "$PLACE/spec"
  cat >"$PLACE/gipam.toml" <<TOML
spec_dir = "$PLACE/spec"
socket_dir = "$PLACE"
[[pool]]
name = "lan"
v4 = { base = "198.51.100.0/24", size = 28 }
v6 = { base = "2001:db8::/48", size = 64 }
TOML
  packages
  alone
  calls
  tls
}

if [ "${1:-}" = __inside ]; then inside; exit; fi
[ "$(id -u)" = 0 ] || fail "creating a network namespace needs root"
tools
export GIPAM_MACHINE=aarch64
for kind in deb dist plugin; do scripts/package.sh "$kind"; done
if [ "${#RUN[@]}" -gt 0 ]; then say "emulated by $("${RUN[0]}" --version | head -n 1)"; else say "run on this machine, which is arm64"; fi
unshare -n "$SELF" __inside
echo "every step succeeded"
