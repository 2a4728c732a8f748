#!/bin/busybox sh
# shellcheck shell=dash disable=SC2013
# The first process of a guest of the Xen lab (PV or PVH): brings up its network card, then counts on the console.
#
# Each line is "TICK n=N boot=ID memory=KIB cpus=N". A counter that goes on without a gap under one boot ID is the same
# guest, however often it moved; the host whose console file has the line is the one on which it ran then.
/bin/busybox --install -s /bin
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
while read -r module; do insmod "/lib/modules/$module"; done </lib/modules/order
ip link set lo up
for word in $(cat /proc/cmdline); do
    case $word in
    xsm.ip=*) ip addr add "${word#*=}" dev eth0 ;;
    esac
done
[ -d /sys/class/net/eth0 ] && ip link set eth0 up
boot=$(cat /proc/sys/kernel/random/boot_id)
echo "BOOTED boot=$boot"
n=0
while :; do
    n=$((n + 1))
    # vCPUs that came while it runs are switched on here, as udev would do.
    for online in /sys/devices/system/cpu/cpu[1-9]*/online; do
        [ -f "$online" ] && read -r on <"$online" && [ "$on" = 0 ] && echo 1 >"$online"
    done 2>/dev/null
    read -r _ total _ </proc/meminfo
    cpus=$(grep -c ^processor /proc/cpuinfo)
    echo "TICK n=$n boot=$boot memory=$total cpus=$cpus"
    sleep 0.5
done
