#!/bin/sh
# dns.sh ZONE [SERVER [KEYFILE]] - a hook of gipam that adds containers to DNS, with nsupdate (Debian: bind9-dnsutils).
#
#   [[hook]]
#   name = "dns"
#   command = ["/usr/local/lib/gipam/dns.sh", "lan.example", "192.0.2.53", "/etc/gipam/tsig.key"]
#   events = ["leased", "released", "undone", "adopted", "identified", "named"]
#
# A container `web` with 198.51.100.2 gets web.lan.example A 198.51.100.2, and 2.100.51.198.in-addr.arpa PTR; an IPv6
# address gets AAAA and PTR records.
# REVERSE=no in the environment skips PTR records, for servers that do not have the zone: nsupdate would fail, and gipam would
# retry forever. TTL sets the time to live of the records, 60 s by default. If an event comes twice, the result is the same.
# Engines before 29 do not send the name when they request an address: the event `named` follows when gipam has seen
# the container.
set -eu
zone=${1%.} server=${2:-} key=${3:-} ttl=${TTL:-60}

# Prints the name of a record: lower case, letters, digits and "-", at most 63 of them.
label() {
  printf '%s' "$1" | tr '[:upper:]' '[:lower:]' | tr -c 'a-z0-9-' '-' | sed 's/^-*//' | cut -c1-63 | sed 's/-*$//'
}

# Prints the groups of one part of an IPv6 address, four digits each.
groups() (
  IFS=:
  set -f
  for group in $1; do printf '%04x' "0x$group"; done
)

# Prints the name for the reverse lookup of an address.
backwards() {
  case $1 in
  *:*)
    left=$(groups "${1%%::*}") right=
    case $1 in *::*) right=$(groups "${1##*::}") ;; esac
    while [ $((${#left} + ${#right})) -lt 32 ]; do left=${left}0; done
    rest=$left$right
    while [ -n "$rest" ]; do
      printf '%s.' "${rest#"${rest%?}"}"
      rest=${rest%?}
    done
    echo ip6.arpa.
    ;;
  *) echo "$1" | awk -F. '{ print $4 "." $3 "." $2 "." $1 ".in-addr.arpa." }' ;;
  esac
}

# Sends one update. The server determines the zone of the name.
update() {
  {
    [ -z "$server" ] || echo "server $server"
    printf 'update %s\n' "$@"
    echo send
  } | nsupdate -t 5 ${key:+-k "$key"}
}

[ "${EVENT_KIND:-}" = endpoint ] || exit 0
name=$(label "${EVENT_HOLDER:-}")
[ -n "$name" ] || exit 0
name=$name.$zone. address=$EVENT_ADDRESS reverse=$(backwards "$EVENT_ADDRESS")
case $address in *:*) type=AAAA ;; *) type=A ;; esac

case $EVENT in
leased | adopted | identified | named)
  update "add $name $ttl $type $address"
  [ "${REVERSE:-yes}" = no ] || update "delete $reverse PTR" "add $reverse $ttl PTR $name"
  ;;
released | undone)
  update "delete $name $type $address"
  [ "${REVERSE:-yes}" = no ] || update "delete $reverse PTR $name"
  ;;
esac
