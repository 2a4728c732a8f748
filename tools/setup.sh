#!/usr/bin/env bash
# Makes .venv with everything that XSM, its tests and its demo need; nothing to do takes a tenth of a second.
#
# It looks for each tool itself and not for Debian's package of it, so that a machine that has the tools by
# another way needs no root and no apt. It never removes a package, and never touches libvirt's configuration.
# PYTHON=/path/to/python3 chooses the interpreter. XSM_SETUP_APT=no forbids apt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/find_python.sh

readonly VENV=.venv
readonly STAMP=$VENV/xsm-setup.stamp
readonly LOCK=requirements.lock

say() { printf 'setup: %s\n' "$*"; }
die() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

# The state that .venv must be of: the lock, the project's own metadata and this script.
fingerprint() {
    { cat "$LOCK" pyproject.toml tools/setup.sh tools/find_python.sh && pwd; } | sha256sum | cut -d' ' -f1
}

up_to_date() {
    [[ -f $STAMP && $(<"$STAMP") == "$(fingerprint)" ]] &&
        [[ -x $VENV/bin/python && -x $VENV/bin/xsm && -x $VENV/bin/xsmd ]] && system_ready
}

# --- the system's part -------------------------------------------------------------------------------

# libvirtd lives in /usr/sbin, which an ordinary user's PATH on Debian lacks.
has() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }

system_ready() { [[ -z $(missing_packages) ]]; }

# Prints Debian's names of the packages whose tool is not there.
missing_packages() {
    has libvirtd || echo libvirt-daemon
    has virsh || echo libvirt-clients
    has git || echo git
    has make || echo make
    has xorriso || echo xorriso  # VMs with user-data get a CD-ROM that it makes
    has serf || echo serf      # tests run real agents; a host does without it
    has strace || echo strace  # tests/attack kills xsmd at its writes with it
    # The rest is needed only to build libvirt's Python binding into a new .venv.
    if [[ ! -f $STAMP || $(<"$STAMP") != "$(fingerprint)" ]]; then
        has gcc || echo gcc
        has pkg-config || echo pkg-config
        { has pkg-config && pkg-config --exists libvirt; } || echo libvirt-dev
        find_python >/dev/null || printf '%s\n' python3-dev python3-venv
    fi
}

# Installs what is missing; without root, says which command somebody with root has to run.
install_missing() {
    local packages as_root=()
    mapfile -t packages < <(missing_packages)
    ((${#packages[@]})) || return 0
    local command="apt-get install -y --no-install-recommends ${packages[*]}"
    if [[ ${XSM_SETUP_APT:-yes} == no ]] || ! has apt-get; then
        die "missing: ${packages[*]} (Debian's names of the packages)" \
            "install them, then run make setup again; on Debian as root: $command"
    fi
    if ((EUID != 0)); then
        if ! has sudo || { [[ ! -t 0 ]] && ! sudo -n true 2>/dev/null; }; then
            die "missing: ${packages[*]}; and this user can't become root here" \
                "have somebody run as root: apt-get update && $command" "then run make setup again"
        fi
        as_root=(sudo)
    fi
    as_root+=(env DEBIAN_FRONTEND=noninteractive)
    say "installing ${packages[*]}"
    "${as_root[@]}" apt-get -q update </dev/null
    "${as_root[@]}" apt-get -q install -y --no-install-recommends "${packages[@]}" </dev/null
    mapfile -t packages < <(missing_packages)
    if ((${#packages[@]})); then
        die "still missing after apt-get install: ${packages[*]}" \
            "XSM needs Python 3.11 with venv and headers, libvirtd, virsh, git: Debian 12 or newer has them"
    fi
}

# --- .venv -------------------------------------------------------------------------------------------

make_venv() {
    local python
    python=$(find_python) || die "no python3 >= 3.11 with venv and headers"
    # A .venv that works is updated in place; one whose interpreter has gone, or that was copied, is made anew.
    if ! "$VENV/bin/python" -c "import os, sys; sys.exit(os.path.realpath(sys.prefix) != os.path.realpath('$VENV'))" \
        2>/dev/null; then
        say "new $VENV of $("$python" --version) ($python)"
        "$python" -m venv --clear "$VENV"
    fi
    rm -f "$STAMP"
    local pip=("$VENV/bin/python" -m pip --disable-pip-version-check --no-input)
    say "installing $LOCK"
    # --use-pep517: libvirt's binding has no pyproject.toml, and old and new pip then build it the same way.
    "${pip[@]}" install --quiet --require-hashes --use-pep517 -r "$LOCK"
    "${pip[@]}" install --quiet --no-deps -e .
    "${pip[@]}" check >/dev/null || die "the lock's packages don't fit together: $("${pip[@]}" check)"
    "$VENV/bin/python" -c 'import libvirt, lxml.etree, aiohttp' ||
        die "the packages in $VENV can't be imported; remove $VENV and run make setup again"
    fingerprint >"$STAMP"
}

main() {
    [[ -f $LOCK && -f pyproject.toml ]] || die "no $LOCK here: run it in XSM's folder"
    up_to_date && return 0
    local began=$SECONDS
    install_missing
    if [[ ! -f $STAMP || $(<"$STAMP") != "$(fingerprint)" || ! -x $VENV/bin/python || ! -x $VENV/bin/xsm ]]; then
        make_venv
    fi
    say "ready in $((SECONDS - began)) s: $VENV/bin/xsm, $VENV/bin/xsmd"
}

main "$@"
