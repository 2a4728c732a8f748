#!/bin/bash
# The first process of a lab host's Domain-0, in place of systemd: file systems, network, sshd, Xen's daemons, libvirtd.
# Nothing of XSM's: its program is at /opt/xsm, started by the lab as docs/operations.md says for hosts without systemd.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
say() { echo "DOM0 $(cut -d' ' -f1 /proc/uptime) $*" >/dev/console; }
mount -t tmpfs -o mode=755 run /run
mkdir -p /dev/pts /dev/shm /run/lock /run/xen /run/sshd /run/xenstored /run/libvirt
mkdir -p /var/log/xen/console /var/lib/xen /var/lib/xenstored /opt/xsm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
mount -t ext4 -o ro /dev/vdb /opt/xsm
name=xen01 address=10.77.0.1
for word in $(</proc/cmdline); do
    case $word in
    xsm.name=*) name=${word#*=} ;;
    xsm.address=*) address=${word#*=} ;;
    esac
done
hostname "$name"
echo "$name" >/etc/hostname
ip link set lo up
while read -r module; do modprobe "$module"; done </etc/modules-lab
mount -t xenfs xenfs /proc/xen
# eth0 is the way in from the machine that runs the lab, eth1 the link between the hosts, in a bridge for the guests.
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip link add br0 type bridge
ip link set br0 address "$(</sys/class/net/eth1/address)"
ip link set eth1 master br0 up
ip addr add "$address/24" dev br0
ip link set br0 up
# A migration over a link that is cut ends when TCP gives it up: docs/hypervisors.md. About 25 s instead of 15 min.
echo 6 >/proc/sys/net/ipv4/tcp_retries2
/usr/sbin/sshd
say sshd
daemons=/usr/lib/xen-4.17/bin
$daemons/xenstored --pid-file=/run/xenstored.pid
tries=0
until xenstore-read -s / >/dev/null 2>&1 || ((++tries > 300)); do sleep 0.1; done
$daemons/xen-init-dom0
$daemons/xenconsoled --pid-file=/run/xenconsoled.pid --log=guest --log-dir=/var/log/xen/console
say xen
# It needs certificates before it can listen.
listen=()
[[ ! -e /etc/pki/libvirt/servercert.pem ]] || listen=(--listen)
libvirtd "${listen[@]}" --daemon --pid-file /run/libvirtd.pid
tries=0
until [[ -S /run/libvirt/libvirt-sock ]] || ((++tries > 600)); do sleep 0.1; done
say READY
while :; do # reaps what loses its parent
    sleep infinity &
    wait $!
done
