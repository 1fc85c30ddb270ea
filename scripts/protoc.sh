#!/bin/bash
# protoc.sh - makes sure that protoc and the well-known types of Protocol Buffers are there, which the etcd client is built
# with. As root on Debian, installs them; otherwise says what to install. Prints nothing if they are there.
set -euo pipefail

fail() { echo "protoc.sh: protoc and its well-known types are needed: $*" >&2; exit 1; }

# Whether protoc works on a file that imports a well-known type.
works() {
  local there
  command -v "${PROTOC:-protoc}" >/dev/null || return 1
  there=$(mktemp -d)
  echo 'syntax = "proto3"; import "google/protobuf/descriptor.proto";' >"$there/probe.proto"
  "${PROTOC:-protoc}" -I "$there" --descriptor_set_out=/dev/null "$there/probe.proto" 2>/dev/null ||
    { rm -rf "$there"; return 1; }
  rm -rf "$there"
}

works && exit
command -v apt-get >/dev/null || fail "install your distribution's protobuf compiler"
[ "$(id -u)" = 0 ] || fail "apt-get install protobuf-compiler libprotobuf-dev"
apt-get update -q >/dev/null
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends protobuf-compiler libprotobuf-dev >/dev/null
works || fail "those that were just installed do not work"
