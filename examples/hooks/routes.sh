#!/bin/sh
# routes.sh - a hook of gipam that makes the routes to the slices of other hosts, with ip (iproute2).
#
#   [[hook]]
#   name = "routes"
#   command = ["/usr/local/lib/gipam/routes.sh"]
#   events = ["routes_changed"]
#
# It is an example for programs that make routes in their own way: with routes = "kernel" in [plan], gipam keeps these routes itself,
# and this hook is not needed. The event has the whole list. The script makes each route, and removes all routes with gipam's protocol
# number (171) that are not in the list. If an event comes twice, the result is the same. If a next hop is out of reach, the other
# routes are made, the script fails, and gipam runs it again later.
set -eu
[ "${EVENT:-}" = routes_changed ] || exit 0

# One line for each route: prefix, kind, next hop. The pattern admits only characters of addresses.
rows=$(tr '{' '\n' | sed -nE 's#^"prefix":"([0-9a-f:./]+)",.*"kind":"([a-z]+)","via":(null|"([0-9a-f:.]+)").*#\1 \2 \4#p')

# Prints the commands for ip that make the routes.
make() {
  echo "$rows" | while read -r prefix kind via; do
    case $kind in
    via) echo "route replace $prefix via $via proto 171 metric 65535" ;;
    discard) echo "route replace blackhole $prefix proto 171 metric 65535" ;;
    esac
  done
}

# Prints the prefixes of the routes that are there.
present() {
  ip "$1" route show proto 171 | while read -r first second _; do
    [ "$first" != blackhole ] || first=$second
    case $first in */*) echo "$first" ;; *:*) echo "$first/128" ;; *) echo "$first/32" ;; esac
  done
}

for family in -4 -6; do
  for prefix in $(present $family); do
    echo "$rows" | grep -qE "^$prefix (via|discard)( |\$)" || ip $family route del "$prefix" proto 171
  done
done
make | ip -force -batch -
