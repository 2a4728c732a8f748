#!/usr/bin/env bash
# Installs XSM on this host: the program into /opt/xsm, links in /usr/local/bin, and the systemd unit.
#
# Run again, it updates the program in place; a running xsmd is not restarted, and nothing under /etc/xsm
# or /var/lib/xsm is touched.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/find_python.sh

readonly PREFIX=/opt/xsm

if ((EUID != 0)); then
    echo "install: needs root (sudo make install)" >&2
    exit 1
fi
install -d "$PREFIX/share/doc" "$PREFIX/share/schemas" /usr/local/bin /etc/systemd/system
"$(find_python)" -m venv "$PREFIX/venv"
pip=("$PREFIX/venv/bin/python" -m pip --disable-pip-version-check --no-input --quiet)
"${pip[@]}" install --require-hashes --use-pep517 -r requirements.lock
"${pip[@]}" install --no-deps --force-reinstall .
for program in xsm xsmd; do
    ln -sfn "$PREFIX/venv/bin/$program" "/usr/local/bin/$program"
done
install -m 644 docs/*.md "$PREFIX/share/doc/"
install -m 644 schemas/* "$PREFIX/share/schemas/"
rm -rf "$PREFIX/share/sites" && cp -r sites "$PREFIX/share/sites"
install -m 644 tools/xsmd.service /etc/systemd/system/xsmd.service
if [[ -d /run/systemd/system ]]; then
    systemctl daemon-reload
fi
echo "install: $PREFIX, /usr/local/bin/xsm and xsmd, xsmd.service; next: xsm init, or xsm join (README.md)"
