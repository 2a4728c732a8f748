#!/usr/bin/env bash
# Installs what the lab needs besides `make setup`, as Debian's packages; quick when all is there. XSM_SETUP_APT=no
# forbids apt. It starts nothing and never removes a package; the guest's kernel and agent are only unpacked (guest.py).
set -euo pipefail

die() {
    printf 'lab-setup: %s\n' "$@" >&2
    exit 1
}

has() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }

# Prints Debian's names of the packages whose tool is not there.
missing_packages() {
    has qemu-system-x86_64 || echo qemu-system-x86
    has qemu-img || echo qemu-utils
    has serf || echo serf
    [[ -e /usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so ]] ||
        echo libvirt-daemon-driver-qemu
    has bindfs || echo bindfs
    { has busybox && ! ldd "$(command -v busybox)" >/dev/null 2>&1; } || echo busybox-static
    has ip || echo iproute2
    has nsenter || echo util-linux
    has ssh-keygen || echo openssh-client
    has openssl || echo openssl
    # What the guest agent is linked with: it is taken from its package, its libraries from this machine.
    [[ -e /usr/lib/x86_64-linux-gnu/liburing.so.2 ]] || echo liburing2
}

((EUID == 0)) || die "the lab needs root, for namespaces and mounts"
mapfile -t packages < <(missing_packages)
((${#packages[@]})) || exit 0
command="apt-get install -y --no-install-recommends ${packages[*]}"
if [[ ${XSM_SETUP_APT:-yes} == no ]] || ! has apt-get; then
    die "missing: ${packages[*]} (Debian's names of the packages)" "install them: $command"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -q update </dev/null
apt-get -q install -y --no-install-recommends "${packages[@]}" </dev/null
mapfile -t packages < <(missing_packages)
((!${#packages[@]})) || die "still missing after apt-get install: ${packages[*]}"
