#!/bin/bash
# browser.sh - a headless Chromium for the tests of the page, from Debian's package of that name.
#
#   browser.sh root                    use the host's Chromium, or build (once) a root file system that contains one
#   browser.sh run DIRECTORY [FLAG...] run it headless; its profile is DIRECTORY/profile, and it is driven over the named
#                                      pipes DIRECTORY/in and DIRECTORY/out (Chromium's --remote-debugging-pipe)
#
# Only the root file system stays, in the cache. Chromium uses the host's network, so that it can open a page on this
# machine's loopback; it does not look up names. Building the root file system needs root and apt.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$(readlink -f "$0")")/engine.sh"

SUITE=trixie
ROOT=${GIPAM_BROWSER:-${XDG_CACHE_HOME:-$HOME/.cache}/gipam-browser}

own_browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

build_browser_root() {
  local mirror log=$ROOT/debian.log
  [ ! -e "$ROOT/debian/usr/bin/chromium" ] || return 0
  own_browser >/dev/null && return 0
  [ "$(id -u)" = 0 ] || fail "chromium is not installed, and building a root for one needs root: apt-get install chromium"
  mkdir -p "$ROOT" "$BASE"
  exec 8>"$ROOT/debian.lock"
  flock 8
  if [ ! -e "$ROOT/debian/usr/bin/chromium" ]; then
    note "building the browser's root (once, about a minute)"
    (exec 7>"$BASE/tool.lock"; flock 7; fresh_lists; bootstrap_tool) || exit 1
    mirror=$(debian_mirror)
    rm -rf "$ROOT/debian" "$ROOT/debian.new"
    unshare -m --propagation private perl "$BASE/tool/usr/bin/mmdebstrap" --mode=root --variant=apt \
      --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' \
      --include=chromium,fonts-dejavu-core,fonts-liberation "$SUITE" "$ROOT/debian.new" "$mirror" >"$log" 2>&1 </dev/null ||
      { tail -n 5 "$log" >&2; fail "building the browser's root failed, see $log"; }
    mv "$ROOT/debian.new" "$ROOT/debian"
  fi
  exec 8>&-
}

# Turns off what Chromium must not do in a test, and what it cannot do as root or on a small machine.
FLAGS=(--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --no-default-browser-check
  --disable-background-networking --disable-component-update --disable-sync --disable-extensions --mute-audio
  '--disable-features=Translate,OptimizationHints,MediaRouter' --host-resolver-rules='MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'
  --hide-scrollbars --remote-debugging-pipe)

run_browser() { # DIRECTORY [FLAG...]
  local directory=$1 browser
  shift
  if [ ! -e "$ROOT/debian/usr/bin/chromium" ]; then
    browser=$(own_browser) || fail "no browser found: browser.sh root"
    exec "$browser" "${FLAGS[@]}" --user-data-dir="$directory/profile" "$@" about:blank 3<"$directory/in" 4>"$directory/out"
  fi
  # Chromium has its own mount and process namespaces: its child processes end with it.
  exec unshare -m -p --fork --kill-child --propagation private "$SELF_BROWSER" __inside "$directory" "$@" \
    3<"$directory/in" 4>"$directory/out"
}

inside_root() { # DIRECTORY [FLAG...]
  local directory=$1
  shift
  mount --rbind /dev "$ROOT/debian/dev"
  mount -t proc proc "$ROOT/debian/proc"
  mount -t tmpfs tmpfs "$ROOT/debian/tmp"
  mkdir -p "$ROOT/debian/tmp/page"
  mount --bind "$directory" "$ROOT/debian/tmp/page"
  exec chroot "$ROOT/debian" /usr/bin/env -i HOME=/tmp PATH=/usr/bin:/bin LANG=C.UTF-8 TZ=UTC \
    chromium "${FLAGS[@]}" --user-data-dir=/tmp/page/profile "$@" about:blank
}

SELF_BROWSER=$(readlink -f "$0")
command=${1:-help}
[ $# = 0 ] || shift
case $command in
  root) build_browser_root ;;
  run) run_browser "$@" ;;
  __inside) inside_root "$@" ;;
  *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$SELF_BROWSER"; [ "$command" = help ] || exit 2 ;;
esac
