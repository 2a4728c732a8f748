#!/usr/bin/env bash
# Installs what the Xen lab needs besides `make setup`, as Debian's packages; quick when all is there.
# XSM_SETUP_APT=no forbids apt. It starts nothing and never removes a package. Xen itself is only unpacked (image.py).
set -euo pipefail

die() {
    printf 'lab-xen-setup: %s\n' "$@" >&2
    exit 1
}

has() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }

# Prints Debian's names of the packages whose tool is not there.
missing_packages() {
    has qemu-system-x86_64 || echo qemu-system-x86
    has mmdebstrap || echo mmdebstrap
    has depmod || echo kmod
    has mke2fs || echo e2fsprogs
    has ssh || echo openssh-client
    { has busybox && ! ldd "$(command -v busybox)" >/dev/null 2>&1; } || echo busybox-static
}

((EUID == 0)) || die "the Xen lab needs root, to make its hosts' file systems"
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
