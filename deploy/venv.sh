#!/bin/sh
# requirements.lock → .venv with exactly those packages and this checkout; does nothing while the lock is the same.
set -eu
cd "$(dirname "$0")/.."

say() { echo "tallystick: $*" >&2; }

suits() { # a pyenv shim may exist and not run, so each is tried
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

# One to a line, the best first. A distribution's build is optimised; pyenv's, by default, is not, and a quarter slower.
pythons() {
    for name in ${PYTHON:+"$PYTHON"} /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        suits "$name" && echo "$name"
    done
    true
}

# Debian's python3 has the venv module, but not ensurepip, until python3-venv is installed.
make_venv() {
    "$1" -m venv .venv >/dev/null 2>&1 && return
    rm -rf .venv
    if "$1" -m pip --version >/dev/null 2>&1 && "$1" -m venv --without-pip .venv >/dev/null 2>&1; then
        "$1" -m pip --python .venv/bin/python install --quiet pip >&2 && return
    fi
    rm -rf .venv
    "$1" -m virtualenv --quiet .venv >/dev/null 2>&1 && return
    rm -rf .venv
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --seed --python "$1" .venv >&2 && return
    fi
    rm -rf .venv
    false
}

make_some_venv() {
    found=$(pythons)
    [ -n "$found" ] || {
        say "no Python 3.11 to 3.13 found: install one (Debian: apt-get install python3), or set PYTHON to its path"
        exit 1
    }
    while read -r python; do
        make_venv "$python" </dev/null && return
    done <<END
$found
END
    say "none of these can make a virtual environment:" $found
    say "install python3-venv (Debian: apt-get install python3-venv), or pip, virtualenv or uv"
    exit 1
}

case $(pwd) in
*:*)
    say "no virtual environment can be made in a folder with a colon in its path: $(pwd)"
    exit 1
    ;;
esac

# A checkout that was moved or copied has a .venv whose scripts point to the old place: its path is part of the mark.
state=$(cat requirements.lock pyproject.toml deploy/venv.sh | sha256sum | cut -d ' ' -f 1)
wanted="$state $(pwd)"
if [ -x .venv/bin/tally ] && [ "$(cat .venv/.installed 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

say "setting up .venv (a minute or two the first time)"
if [ -d .venv ] && ! { suits .venv/bin/python && grep -qF " $(pwd)" .venv/.installed 2>/dev/null; }; then
    rm -rf .venv
fi
if [ ! -d .venv ]; then
    make_some_venv
fi
rm -f .venv/.installed
pip() { .venv/bin/python -m pip --disable-pip-version-check --quiet "$@" >&2; }

# uv, itself from the lock, is twenty times as fast as pip. Who set pip up for an index of their own gets pip.
install_locked() {
    if [ -z "${PIP_INDEX_URL:-}" ] && ! .venv/bin/python -m pip config list 2>/dev/null | grep -q 'index-url'; then
        awk '/^uv==/ { found = 1 } found { print; if (!/\\$/) exit }' requirements.lock >.venv/uv.lock
        pip install --no-deps --require-hashes -r .venv/uv.lock &&
            .venv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes requirements.lock >&2 && return
        say "uv could not install; trying pip"
    fi
    pip install --no-deps --require-hashes -r requirements.lock
}

install_locked
pip install --no-deps --no-build-isolation --no-index --editable . 2>.venv/install.log || {
    cat .venv/install.log >&2
    exit 1
}
echo "$wanted" >.venv/.installed
