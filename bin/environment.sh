# Sourced by the commands beside it: makes .venv in the checkout, once, and again when the lock changes.
# Needs Python 3.11 or later with venv; no root, nothing outside the checkout.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$project/.venv/bin/python
stamp=$project/.venv/installed

is_recent() { "$1" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

install_environment() {
    local base=""
    for candidate in "${ROSETTA_PYTHON:-python3}" python3.13 python3.12 python3.11 python3.14; do
        if is_recent "$candidate"; then base=$candidate; break; fi
    done
    if [[ -z $base ]]; then
        echo "Python 3.11 or later with venv is needed (set ROSETTA_PYTHON to name one)" >&2
        exit 1
    fi
    echo "installing into .venv (once; about a minute)" >&2
    rm -rf "$project/.venv"
    "$base" -m venv "$project/.venv"
    # The lock first, by hash; then the project itself, which needs nothing more.
    "$python" -m pip --disable-pip-version-check install -q --require-hashes -r "$project/requirements.lock" >&2
    "$python" -m pip --disable-pip-version-check install -q --no-deps --no-build-isolation -e "$project" >&2
    cksum "$project/requirements.lock" "$project/pyproject.toml" >"$stamp"
}

if ! [[ -x $python && -f $stamp ]] || ! cksum "$project/requirements.lock" "$project/pyproject.toml" | cmp -s - "$stamp"; then
    install_environment
fi
