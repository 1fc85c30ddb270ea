#!/bin/bash
# etcd.sh - prints the directory that contains etcd and etcdctl: this machine's own, or those of Debian's packages etcd-server
# and etcd-client, which it unpacks once into the cache without installing them.
set -euo pipefail

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/gipam-etcd

fail() { echo "etcd.sh: $*" >&2; exit 1; }

own=$(command -v etcd || true)
if [ -n "$own" ] && [ -x "${own%/*}/etcdctl" ]; then
  echo "${own%/*}"
  exit
fi
if [ ! -x "$CACHE/usr/bin/etcdctl" ]; then
  command -v apt-get >/dev/null || fail "etcd is needed: install etcd and etcdctl"
  # from bookworm on, server and client are separate packages
  packages=(etcd-server etcd-client)
  apt-cache show "${packages[@]}" >/dev/null 2>&1 || apt-get update -q >&2
  rm -rf "$CACHE.new"
  mkdir -p "$CACHE.new"
  (cd "$CACHE.new" && apt-get download -q -o APT::Sandbox::User=root "${packages[@]}" >/dev/null &&
    for package in *.deb; do dpkg -x "$package" .; done && rm -- *.deb) || fail "cannot get ${packages[*]}"
  rm -rf "$CACHE"
  mv "$CACHE.new" "$CACHE"
fi
echo "$CACHE/usr/bin"
