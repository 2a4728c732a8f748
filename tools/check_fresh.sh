#!/usr/bin/env bash
# Proves that a clean clone needs nothing but Debian 12 with make and git: makes a bare Debian in a chroot,
# clones the present HEAD into it, runs `make setup test demo` as root there, then `make demo` as an ordinary
# user who can't become root. Needs root and debootstrap. KEEP=1 leaves the chroot.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

((EUID == 0)) || { echo "check-fresh: needs root, for debootstrap and chroot" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "check-fresh: apt-get install debootstrap" >&2; exit 1; }
readonly TARGETS=${TARGETS:-setup test demo}

root=$(mktemp -d /var/tmp/xsm-fresh.XXXXXX)
chmod 755 "$root" # it becomes /, for everybody
cleanup() {
    if [[ -n ${KEEP:-} ]]; then
        echo "check-fresh: chroot left at $root"
    else
        rm -rf --one-file-system "$root"
    fi
}
trap cleanup EXIT

# The mirror that this machine's apt uses; none: debootstrap's own.
# shellcheck disable=SC2016 # $(SITE) is apt's format, not the shell's
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' | sort | head -n 1)
debootstrap --variant=minbase --include=make,git bookworm "$root" ${mirror:+"$mirror"} >"$root.log" 2>&1 ||
    { tail -n 20 "$root.log" >&2; exit 1; }
rm -f "$root.log"
git clone --quiet . "$root/srv/xsm"

# What this machine needs to reach its registries: names, certificates, pip's settings.
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
settings=(HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
if [[ -f /etc/ssl/certs/ca-certificates.crt ]]; then
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/registry-ca.crt"
    settings+=(PIP_CERT=/etc/registry-ca.crt)
fi
[[ ! -f /etc/pip.conf ]] || cp /etc/pip.conf "$root/etc/pip.conf"

# Own mounts and process ids: whatever is left running ends with the namespace.
inside() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --mount --pid --fork --kill-child bash -c '
        mount -t proc proc "$0/proc" && mount -t tmpfs tmpfs "$0/dev/shm" 2>/dev/null || true
        mount --bind /dev/null "$0/dev/null" 2>/dev/null || true
        exec chroot "$@"' "$root" "$root" env -i "${settings[@]}" "$@"
}

inside useradd --create-home admin
git clone --quiet . "$root/home/admin/xsm"
inside chown -R admin: /home/admin/xsm
for target in $TARGETS; do
    echo "=== fresh machine, root: make $target"
    inside make -C /srv/xsm --no-print-directory "$target" </dev/null
done
echo "=== fresh machine, ordinary user: make demo"
inside su admin -c 'make -C ~/xsm --no-print-directory demo' </dev/null
echo "check-fresh: passed"
