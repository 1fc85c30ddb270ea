#!/bin/sh
# route.sh ROUTER VIA4 [VIA6] - a hook of gipam that adds a static route for each subnet on a Linux router, over ssh.
#
#   [[hook]]
#   name = "route"
#   command = ["/usr/local/lib/gipam/route.sh", "root@192.0.2.1", "192.0.2.10", "2001:db8::10"]
#   events = ["subnet_granted", "subnet_adopted", "subnet_released", "subnet_undone"]
#   timeout = "30s"
#
# VIA4 and VIA6 are this host's addresses on the router's network; "" or none skips that family. An ssh configuration,
# /etc/gipam/ssh_config or $SSH_CONFIG, names the key and the router's host key, because gipam cannot read root's home
# directory:
#
#   IdentityFile /etc/gipam/router_key
#   UserKnownHostsFile /etc/gipam/router_known_hosts
#
# If an event comes twice, the result is the same. You do not need this hook if the router already sends all of a pool to
# this host.
set -eu
router=$1 subnet=${EVENT_SUBNET:-}
case ${EVENT_FAMILY:-} in
v4) ip="ip -4" via=$2 ;;
v6) ip="ip -6" via=${3:-} ;;
*) exit 0 ;;
esac
[ -n "$via" ] || exit 0

case $EVENT in
subnet_granted | subnet_adopted) order="$ip route replace $subnet via $via" ;;
# A route that is already gone counts as removed.
subnet_released | subnet_undone)
  order="$ip route del $subnet via $via 2>/dev/null || test -z \"\$($ip route show exact $subnet via $via)\""
  ;;
*) exit 0 ;;
esac

config=${SSH_CONFIG:-/etc/gipam/ssh_config}
if [ -e "$config" ]; then set -- -F "$config"; else set --; fi
# The command contains only text of this script and addresses from gipam.
exec ssh "$@" -o BatchMode=yes -o ConnectTimeout=10 "$router" "$order" </dev/null
