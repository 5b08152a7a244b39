#!/bin/sh
# A site with two uplinks, and what is far away, as network namespaces of one machine. As root:
#
#     sh two-uplinks.sh           makes them
#     sh two-uplinks.sh delete    removes them, with everything that is in them
#
#            wan-a 192.0.2.2 ------ 192.0.2.1 isp-a ----
#     site                                              far    203.0.113.1, .2 and .10
#            wan-b 198.51.100.2 - 198.51.100.1 isp-b ---
#
# TWOWAY_LAB stands before the names, should one of them be taken.
set -eu
lab=${TWOWAY_LAB:-}
names="site isp-a isp-b far"

if [ "${1:-}" = delete ]; then
    for name in $names; do ip netns delete "$lab$name"; done
    exit
fi

for name in $names; do
    ip netns add "$lab$name"
    ip -n "$lab$name" link set lo up
    ip netns exec "$lab$name" sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
done

# uplink NAME ADDRESS-OF-SITE ADDRESS-OF-ISP NETWORK-BEYOND
uplink() {
    ip -n "${lab}site" link add "wan-$1" type veth peer name site netns "${lab}isp-$1"
    ip -n "${lab}site" address add "$2/24" dev "wan-$1"
    ip -n "${lab}site" link set "wan-$1" up
    ip -n "${lab}isp-$1" address add "$3/24" dev site
    ip -n "${lab}isp-$1" link set site up

    ip -n "${lab}far" link add "isp-$1" type veth peer name far netns "${lab}isp-$1"
    ip -n "${lab}far" address add "$4.2/30" dev "isp-$1"
    ip -n "${lab}far" link set "isp-$1" up
    ip -n "${lab}isp-$1" address add "$4.1/30" dev far
    ip -n "${lab}isp-$1" link set far up

    ip -n "${lab}isp-$1" route add default via "$4.2"
    ip -n "${lab}far" route add "$2" via "$4.1"
}
uplink a 192.0.2.2 192.0.2.1 10.0.1
uplink b 198.51.100.2 198.51.100.1 10.0.2
for address in 203.0.113.1 203.0.113.2 203.0.113.10; do
    ip -n "${lab}far" address add "$address/32" dev lo
done

# The site's default route as it was so far.
ip -n "${lab}site" route add default via 192.0.2.1
