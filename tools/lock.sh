#!/usr/bin/env bash
# Makes requirements.lock from pyproject.toml: every package of XSM and its tests, with version and hashes.
#
# Pins that still fit stay; to renew all of them, remove the lock first. No URL or registry host is written,
# so that the lock installs from whichever registry a machine is set up for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

.venv/bin/python -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pip-tools
"$work/venv/bin/pip-compile" --quiet --extra dev --generate-hashes --no-emit-index-url --no-emit-find-links \
    --no-emit-trusted-host --strip-extras --allow-unsafe --output-file requirements.lock pyproject.toml
if grep -n '://' requirements.lock; then
    echo "lock: requirements.lock names a URL" >&2
    exit 1
fi
echo "lock: $(grep -c '^[a-z].*==' requirements.lock) packages in requirements.lock"
