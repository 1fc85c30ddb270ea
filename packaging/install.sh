#!/bin/sh
# install.sh - installs, upgrades or removes gipam, from this directory.
#
#   ./install.sh              install or upgrade: program, manual pages and completions below /usr/local, units in
#                             /etc/systemd/system, configuration in /etc/gipam unless it exists
#   ./install.sh --remove     stop gipam and remove these files, but keep the configuration and the books
#   --prefix DIR              install below DIR instead of /usr/local
#   --root DIR                install below DIR instead of /, for images; starts and stops nothing
#
# An upgrade restarts a running gipam; systemd keeps its socket open, so no request from Docker is lost.
set -eu

PREFIX=/usr/local ROOT='' REMOVE=no
while [ $# -gt 0 ]; do
  case $1 in
    --prefix | --root)
      [ $# -gt 1 ] || { echo "install.sh: $1 needs a directory" >&2; exit 2; }
      if [ "$1" = --prefix ]; then PREFIX=$2; else ROOT=$2; fi
      shift
      ;;
    --remove) REMOVE=yes ;;
    --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit ;;
    *) echo "install.sh: $1 is unknown; see --help" >&2; exit 2 ;;
  esac
  shift
done
cd "$(dirname "$0")"
UNITS=$ROOT/etc/systemd/system

# Whether systemd is running.
live() { [ -z "$ROOT" ] && [ -d /run/systemd/system ]; }

# Prints "FILE TARGET" for everything except the configuration.
files() {
  echo "gipam $PREFIX/bin/gipam"
  for page in man1/*; do echo "$page $PREFIX/share/man/$page"; done
  echo "completions/gipam.bash $PREFIX/share/bash-completion/completions/gipam"
  echo "completions/_gipam $PREFIX/share/zsh/site-functions/_gipam"
  echo "completions/gipam.fish $PREFIX/share/fish/vendor_completions.d/gipam.fish"
  echo "systemd/gipam.service /etc/systemd/system/gipam.service"
  echo "systemd/gipam.socket /etc/systemd/system/gipam.socket"
}

if [ $REMOVE = yes ]; then
  if live; then systemctl --quiet disable --now gipam.socket gipam.service 2>/dev/null || true; fi
  files | while read -r _ target; do rm -f "$ROOT$target"; done
  if live; then systemctl daemon-reload; fi
  echo "gipam is removed; its configuration (/etc/gipam) and books (/var/lib/gipam) are kept"
  exit
fi

files | while read -r file target; do
  mode=644
  [ "$file" != gipam ] || mode=755
  mkdir -p "$ROOT$(dirname "$target")"
  # write a new file and rename it: a running program is never overwritten
  install -m "$mode" "$file" "$ROOT$target.new"
  mv -f "$ROOT$target.new" "$ROOT$target"
done
sed -i "s|=/usr/local/bin/gipam|=$PREFIX/bin/gipam|" "$UNITS/gipam.service"
mkdir -p "$ROOT/etc/gipam"
for file in gipam.toml gipam.env; do
  target=$ROOT/etc/gipam/$file
  [ -e "$target" ] || install -m 640 "$file" "$target"
  # A hook's URL or command may contain a password. Earlier versions installed mode 644; a person chose any other mode.
  if [ "$(stat -c %a "$target")" = 644 ]; then
    chmod 640 "$target"
    echo "$target was readable by everybody; its mode is now 640"
  fi
done
if live; then
  systemctl daemon-reload
  if systemctl --quiet is-active gipam.service; then
    systemctl restart gipam.service
    echo "gipam is upgraded: $("$PREFIX/bin/gipam" --version)"
    exit
  fi
fi
echo "gipam is installed. Add the pools that are routed to this host to /etc/gipam/gipam.toml, then run:"
echo "  systemctl enable --now gipam.socket gipam.service"
