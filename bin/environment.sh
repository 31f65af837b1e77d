# Sourced by the commands beside it: makes .venv in the checkout, once, and again when a lock changes. It has what the
# service and the demo need; with `rosetta_packages=all` what the tests need, too.
# Needs Python 3.11 or later with venv; no root, nothing outside the checkout.
set -euo pipefail
packages=${rosetta_packages:-few}
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$project/.venv/bin/python
stamp=$project/.venv/installed

# What a person has set for other projects: other places to install to, other versions, other modules.
unset PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_CONSTRAINT PIP_REQUIREMENT PIP_NO_DEPS PIP_REQUIRE_VIRTUALENV \
    PYTHONPATH PYTHONHOME PYTHONSTARTUP
# Set in most images of containers: each process would compile all that it imports, which takes two thirds of its start.
unset PYTHONDONTWRITEBYTECODE

is_recent() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

locks() (cd "$project" && cksum requirements.lock requirements-demo.lock pyproject.toml)

# The stamp has which packages are there, and the locks that they are from.
is_of_these_locks() { [[ -x $python && -f $stamp ]] && locks | cmp -s - <(tail -n +2 "$stamp"); }

is_installed() { is_of_these_locks && { [[ $packages == few ]] || [[ $(head -n 1 "$stamp") == all ]]; }; }

find_python() {
    for candidate in "${ROSETTA_PYTHON:-python3}" python3.13 python3.12 python3.11 python3.14; do
        if is_recent "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "Python 3.11 or later with venv is needed: on Debian and Ubuntu the package python3-venv." >&2
    echo "ROSETTA_PYTHON can name one." >&2
    exit 1
}

install_environment() {
    # Another first command may have installed while this one waited for the lock.
    if is_installed; then return; fi
    local lock=requirements-demo.lock
    if [[ $packages == all ]]; then lock=requirements.lock; fi
    local count
    count=$(grep -c == "$project/$lock")
    # What the demo has installed is a part of what the tests need.
    if ! is_of_these_locks; then
        rm -rf "$project/.venv"
        echo "making .venv with $("$1" --version)" >&2
        "$1" -m venv "$project/.venv"
    fi
    # The lock first, by hash; then the project itself, which needs nothing more. On a terminal pip shows how far it is.
    local pip=("$python" -m pip --disable-pip-version-check install --no-user --no-compile)
    if ! [[ -t 2 ]]; then pip+=(-q); fi
    echo "installing up to $count packages of $lock into .venv (once)" >&2
    "${pip[@]}" --require-hashes -r "$project/$lock" >&2
    "${pip[@]}" --no-deps --no-build-isolation -e "$project" >&2
    { echo "$packages" && locks; } >"$stamp"
}

if [[ ${1:-} == --install && ${BASH_SOURCE[0]} == "$0" ]]; then
    packages=$3
    install_environment "$2"
elif ! is_installed; then
    base=$(find_python)
    # One at a time. The system frees the lock however its holder ends.
    "$base" - "$project/.venv.lock" bash "${BASH_SOURCE[0]}" --install "$base" "$packages" <<'PYTHON'
import fcntl, subprocess, sys

with open(sys.argv[1], "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    sys.exit(subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL).returncode)
PYTHON
fi
