#!/bin/sh
# Writes the delegated IPv6 prefixes of this host to a file that a pool of gipam follows:
#     v6 = "file:/run/gipam/prefix"
# dhcpcd: install it as /etc/dhcpcd.exit-hook, or source it from there.
# odhcp6c: call it at the end of the script that odhcp6c runs (odhcp6c -s), with the same arguments and environment.
# The file is replaced as a whole. When there is no prefix, it stays as it is: gipam keeps the last prefix anyway.
set -eu
file=${GIPAM_PREFIX_FILE:-/run/gipam/prefix}

prefixes() {
    if [ -n "${PREFIXES:-}" ]; then
        # odhcp6c: PREFIX,PREFERRED,VALID[,...] separated by spaces; a prefix with preferred lifetime 0 is being replaced.
        for entry in $PREFIXES; do
            rest=${entry#*,}
            [ "${rest%%,*}" = 0 ] || echo "${entry%%,*}"
        done
    else
        # dhcpcd: the first prefix of each identity association for prefix delegation. (new_delegated_dhcp6_prefix has the
        # addresses that dhcpcd gave to inner interfaces.)
        for ia in 1 2 3 4 5 6 7 8 9; do
            eval "address=\${new_dhcp6_ia_pd${ia}_prefix1:-} length=\${new_dhcp6_ia_pd${ia}_prefix1_length:-}"
            [ -z "$address" ] || [ -z "$length" ] || echo "$address/$length"
        done
    fi
}

found=$(prefixes)
[ -n "$found" ] || exit 0
mkdir -p "${file%/*}"
echo "$found" > "$file.new"
mv "$file.new" "$file"
