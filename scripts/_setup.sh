# Sourced by the other scripts: an environment in .venv with this package and what its tests need, made once.
#
#   setup                 make or refresh .venv (skipped when pyproject.toml is what it was)
#   orthanc [SUITE ...]   have these servers ready: `--all` for those of the tests, nothing for any one
#   browser               say how to get the Chromium that shows screens to the tests, where there is none

set -eu
cd "$(dirname "$0")/.."
stamp=.venv/.setup

fail() {
    echo "$*" >&2
    exit 1
}

# The newest Python that will do. A name on PATH may be a shim of a version manager that has no such version: ask it.
find_python() {
    for each in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
        [ -n "$each" ] && "$each" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        echo "$each"
        return
    done
    fail "Python 3.11 or later is needed and was not found; install it (Debian, Ubuntu: apt install python3)," \
        "or name it: PYTHON=/path/to/python3 $0"
}

make_venv() {
    python=$(find_python)
    "$python" -m venv --clear .venv >/dev/null 2>&1 && return
    # Debian and Ubuntu leave pip out of a bare Python; their own package of it is fetched without root.
    "$python" -m venv --clear --without-pip .venv || fail "$python could not make an environment in $PWD/.venv."
    wheel=$("$python" orthanc_research/local/_apt.py python3-pip-whl .venv) ||
        fail "This Python has no pip, and pip could not be fetched; install python3-venv."
    .venv/bin/python "$wheel/pip" install --quiet --no-deps --no-index "$wheel" ||
        fail "pip could not be put into .venv."
    rm -f "$wheel"
}

setup() {
    extras=dev${ORTHANC_RESEARCH_LONG:+,papers} # what the torture runs need beside
    wanted=$(cksum pyproject.toml scripts/_setup.sh; echo "$extras")
    if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    .venv/bin/python -m pip --version >/dev/null 2>&1 || make_venv
    echo "Installing the package into .venv, once; it takes some minutes ..." >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extras]" ||
        fail "The package could not be installed: see pip above (is there a network, or an index that pip can reach?)."
    echo "$wanted" >"$stamp"
}

orthanc() {
    .venv/bin/python -m orthanc_research.local "$@"
}

browser() {
    for each in chromium chromium-browser google-chrome; do
        command -v "$each" >/dev/null 2>&1 && return
    done
    echo "There is no Chromium, so the tests of screens are left out; to get it on Debian: apt install chromium" >&2
}
