#!/bin/bash
# The first process of a lab host, in namespaces of its own: makes the host's file systems and starts libvirtd.
#
# HOST is the host's folder, LAB the lab's, IMAGES the guest's images, the others see places.py. What the
# host writes to /etc, /var, /root, /srv, /opt and /usr/local goes to HOST/written; nothing of the machine is changed.
set -euo pipefail
: "${HOST:?}" "${LAB:?}" "${IMAGES:?}" "${SHARED:?}" "${LOCKS:?}" "${GUEST:?}" "${CONSOLES:?}" "${ADDRESS:?}" "${NAME:?}"
mount --make-rprivate /
hostname "$NAME"
mount -t proc proc /proc

# Control groups: only this host's part shows. libvirt would find the covered outer mounts in /proc/mounts.
groups=$(<"$LAB/cgroups")
umount -R /sys/fs/cgroup
mount -t sysfs -o ro sysfs /sys
if [[ $groups == v2 ]]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mkdir -p /sys/fs/cgroup/init
    echo 0 >/sys/fs/cgroup/init/cgroup.procs
else
    mount -t tmpfs -o mode=755 cgroups /sys/fs/cgroup
    for controller in $groups; do
        mkdir "/sys/fs/cgroup/$controller"
        mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
    done
fi

for folder in etc var srv root opt usr/local; do
    mkdir -p "$HOST/written/$folder" "$HOST/work/$folder"
    mount -t overlay -o "lowerdir=/$folder,upperdir=$HOST/written/$folder,workdir=$HOST/work/$folder" overlay "/$folder"
done
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/lock /run/libvirt /run/sshd
# What the machine itself has of libvirt, XSM and guests doesn't show on the host.
for folder in /etc/libvirt /etc/xsm /etc/pki /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /var/lib/xsm; do
    mkdir -p "$HOST/own$folder" "$folder"
    mount --bind "$HOST/own$folder" "$folder"
done
mkdir -p "$CONSOLES" "$SHARED" "$GUEST" /var/lib/libvirt/images /var/log/libvirt/qemu /var/lib/libvirt/qemu
cp "$HOST/files/hosts" "$HOST/files/hostname" "$HOST/files/machine-id" /etc/
# libvirt looks for its user even where its settings name another; a package that isn't needed here would make it.
grep -q ^libvirt-qemu: /etc/passwd || echo "libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin" >>/etc/passwd
grep -q ^libvirt-qemu: /etc/group || echo "libvirt-qemu:x:64055:" >>/etc/group
grep -q ^kvm: /etc/group || echo "kvm:x:64056:" >>/etc/group
cp -r "$HOST/files/libvirt/." /etc/libvirt/

# Devices: no /dev/kvm, which may be there and not work.
mount -t tmpfs -o mode=755 dev /dev
while read -r device major minor; do
    mknod -m 666 "/dev/$device" c "$major" "$minor"
done <<'DEVICES'
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
fuse 10 229
DEVICES
mkdir /dev/net /dev/pts /dev/shm /dev/mapper
mknod -m 666 /dev/net/tun c 10 200
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts /dev/pts
mount -t tmpfs shm /dev/shm
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd
for number in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${number%%:*}" "/dev/${number#*:}"; done

mount --bind "$IMAGES" "$GUEST"
mount -o remount,bind,ro "$GUEST"
# Each host mounts the shared directory by itself; by the subtype libvirt takes it for a cluster file system, on
# which a guest with a disk may be migrated. Locks of files don't reach from host to host, as on many such systems.
bindfs --no-allow-other -o subtype=glusterfs,fsname=lab:/shared "$LAB/shared" "$SHARED"
# Here they do: what virtlockd needs.
mkdir -p "$LAB/shared/locks" "$LOCKS"
bindfs --no-allow-other --multithreaded --enable-lock-forwarding -o fsname=lab:/locks "$LAB/shared/locks" "$LOCKS"

ip link set lo up
ip link add br0 type bridge
ip link set br0 address "$(</sys/class/net/eth0/address)"
ip link set eth0 master br0 up
ip addr add "$ADDRESS/24" dev br0
ip link set br0 up

# The other hosts' disks and all that the lab knows are out of sight.
touch "$HOST/up"
mount -t tmpfs -o ro hidden "$LAB"

# It needs certificates before it can listen.
listen=
[[ ! -e /etc/pki/libvirt/servercert.pem ]] || listen=--listen
libvirtd $listen --daemon --pid-file /run/libvirtd.pid
while :; do # reaps what loses its parent
    sleep infinity &
    wait $!
done
