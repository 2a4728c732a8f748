#!/bin/busybox sh
# shellcheck shell=dash disable=SC2013,SC2016
# The guest's first process: brings up virtio, the network, the guest agent and ACPI, then counts on the console.
#
# Each line is "TICK NAME n=N boot=ID memory=KIB cpus=N". A counter that goes on without a gap under one boot ID is the
# same guest, however often it moved; the host whose console file has the line is the one on which it ran then.
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /var/run /tmp /run
mount -t devpts pts /dev/pts
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
# virtio_ring before virtio: Debian's modules don't say that they need it.
for m in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net \
    virtio_blk virtio_balloon virtio_console button evdev; do
    [ -f /lib/modules/$m.ko ] && insmod /lib/modules/$m.ko
done
name=vm ip=
for word in $(cat /proc/cmdline); do
    case $word in
    xsm.name=*) name=${word#*=} ;;
    xsm.ip=*) ip=${word#*=} ;;
    esac
done
hostname "$name"
# A guest whose command line says so reads its cloud-init seed, as cloud-init would.
seed=
case " $(cat /proc/cmdline) " in *" xsm.seed "*)
    for m in scsi_common scsi_mod libata ata_piix cdrom sr_mod isofs; do
        insmod /lib/modules/$m.ko
    done
    tries=0
    while [ ! -b /dev/sr0 ] && [ $tries -lt 50 ]; do # its bus is looked over in the background
        tries=$((tries + 1))
        sleep 0.1
    done
    mkdir -p /seed
    mount -t iso9660 -o ro /dev/sr0 /seed && seed=$(cat /seed/meta-data /seed/user-data | tr ' \n' '_|')
    ;;
esac
ip link set lo up
if [ -d /sys/class/net/eth0 ]; then
    ip link set eth0 up
    [ -n "$ip" ] && ip addr add "$ip" dev eth0
fi
# What udev would do: names of the virtio ports.
mkdir -p /dev/virtio-ports
for port in /sys/class/virtio-ports/*; do
    [ -f "$port/name" ] && ln -sf "/dev/${port##*/}" "/dev/virtio-ports/$(cat "$port/name")"
done
agent=/dev/virtio-ports/org.qemu.guest_agent.0
[ -x /usr/sbin/qemu-ga ] && [ -e $agent ] && qemu-ga -d -m virtio-serial -p $agent
# Both ways to shut down end in a line of farewell: the agent's command, and the power button (busybox's acpid).
printf '#!/bin/sh\necho "BYE $(hostname)" >/dev/ttyS0; sync\ncase "$*" in *-r*) reboot -f;; *) poweroff -f;; esac\n' >/sbin/shutdown
mkdir -p /etc/acpi/PWRF
printf '#!/bin/sh\nexec /sbin/shutdown -P\n' >/etc/acpi/PWRF/00000080
chmod +x /sbin/shutdown /etc/acpi/PWRF/00000080
(acpid -d >/dev/null 2>&1 &)
boot=$(cat /proc/sys/kernel/random/boot_id)
before=
[ -b /dev/vda ] && before=$(dd if=/dev/vda bs=512 count=1 2>/dev/null | tr -d '\0' | tr ' \n' '_.')
echo "BOOTED $name boot=$boot disk=$before"
[ -n "$seed" ] && echo "SEED $seed"
n=0 told=
while :; do
    n=$((n + 1))
    # vCPUs that came while it runs are switched on here, as udev would do.
    for online in /sys/devices/system/cpu/cpu[1-9]*/online; do
        [ -f "$online" ] && read -r on <"$online" && [ "$on" = 0 ] && echo 1 >"$online"
    done 2>/dev/null
    read -r _ total _ </proc/meminfo
    cpus=$(grep -c ^processor /proc/cpuinfo)
    echo "TICK $name n=$n boot=$boot memory=$total cpus=$cpus"
    sizes=
    for block in /sys/block/vd*/size; do
        [ -f "$block" ] && read -r sectors <"$block" && part=${block#/sys/block/} && sizes="$sizes ${part%/size}=$sectors"
    done
    [ "$sizes" = "$told" ] || echo "DISKS $name$sizes"
    told=$sizes
    # Seldom: QEMU 7.2 under TCG may lose pages of a guest that writes much while it is migrated.
    if [ $((n % 10)) = 1 ] && [ -b /dev/vda ]; then
        echo "$name n=$n $boot" | dd of=/dev/vda bs=512 count=1 conv=notrunc,fsync,sync 2>/dev/null
    fi
    sleep 0.2
done >/dev/ttyS0
