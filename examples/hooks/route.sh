#!/bin/sh
# route.sh ROUTER VIA4 [VIA6] - a hook of gipam: each subnet as a static route on a Linux router, over ssh.
#
#   [[hook]]
#   name = "route"
#   command = ["/usr/local/lib/gipam/route.sh", "root@192.0.2.1", "192.0.2.10", "2001:db8::10"]
#   events = ["subnet_granted", "subnet_adopted", "subnet_released", "subnet_undone"]
#   timeout = "30s"
#
# VIA4 and VIA6 are this host's addresses on the router's network; "" or none leaves that family alone. The key and the router's
# host key are in a configuration of ssh, /etc/gipam/ssh_config or $SSH_CONFIG, since the home of root is out of gipam's reach:
#
#   IdentityFile /etc/gipam/router_key
#   UserKnownHostsFile /etc/gipam/router_known_hosts
#
# Told twice of an event, it does the same again. Where one prefix pair for the whole host is routed already, this is not needed.
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
# Gone already is as good as removed.
subnet_released | subnet_undone)
  order="$ip route del $subnet via $via 2>/dev/null || test -z \"\$($ip route show exact $subnet via $via)\""
  ;;
*) exit 0 ;;
esac

config=${SSH_CONFIG:-/etc/gipam/ssh_config}
if [ -e "$config" ]; then set -- -F "$config"; else set --; fi
# The order is made here, of numbers that gipam gave.
exec ssh "$@" -o BatchMode=yes -o ConnectTimeout=10 "$router" "$order" </dev/null
