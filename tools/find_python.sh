# Sourced: `find_python` prints the path of a Python that XSM can be installed with.
# shellcheck shell=bash

python_fits() {
    "$1" - >/dev/null 2>&1 <<'PY'
import ensurepip, os, sys, sysconfig, venv
fits = sys.version_info >= (3, 11) and os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h"))
sys.exit(0 if fits else 1)
PY
}

# The system's own python3 comes first: a daemon that systemd starts can't always read a user's pyenv.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        if python_fits "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}
