#!/bin/sh
# install.sh - installs gipam from this directory, upgrades it, removes it.
#
#   ./install.sh              install or upgrade: program, manual pages and completions below /usr/local, units in
#                             /etc/systemd/system, configuration in /etc/gipam unless there is one
#   ./install.sh --remove     stop it and remove all of that; configuration and books stay
#   --prefix DIR              instead of /usr/local
#   --root DIR                below DIR instead of /, for images: nothing is started or stopped
#
# A gipam that runs is restarted by an upgrade; its socket stays with systemd, so no request of Docker is lost.
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

# Is there a systemd to talk to?
live() { [ -z "$ROOT" ] && [ -d /run/systemd/system ]; }

# FILE TARGET of everything but the configuration.
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
  echo "gipam is removed; configuration (/etc/gipam) and books (/var/lib/gipam) stay"
  exit
fi

files | while read -r file target; do
  mode=644
  [ "$file" != gipam ] || mode=755
  mkdir -p "$ROOT$(dirname "$target")"
  # next to it first, then in its place: a running program is never overwritten
  install -m "$mode" "$file" "$ROOT$target.new"
  mv -f "$ROOT$target.new" "$ROOT$target"
done
sed -i "s|=/usr/local/bin/gipam|=$PREFIX/bin/gipam|" "$UNITS/gipam.service"
mkdir -p "$ROOT/etc/gipam"
for file in gipam.toml gipam.env; do
  target=$ROOT/etc/gipam/$file
  [ -e "$target" ] || install -m 640 "$file" "$target"
  # A hook's URL or command may hold a password. Earlier versions installed 644; any other mode is somebody's decision.
  if [ "$(stat -c %a "$target")" = 644 ]; then
    chmod 640 "$target"
    echo "$target was readable by everybody; its mode is 640 now"
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
echo "gipam is installed. Put the pools that are routed to this host into /etc/gipam/gipam.toml, then:"
echo "  systemctl enable --now gipam.socket gipam.service"
