#!/bin/sh
# Finds a Python that can hold the course, then hands over to set_up.py. POSIX sh; built-in commands
# only, so that a machine with nothing on it gets a message and not a riddle.
#   set_up.sh [arguments of set_up.py]        PYTHON=/path/to/python3.12 names one to use
cd "$(dirname "$0")/.." || exit 1

# 0: fits. 3: fits, but cannot make an environment. Anything else: another version, or does not run.
probe='import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13): sys.exit(4)
try:
    import ensurepip, venv
    ensurepip.version()
except Exception: sys.exit(3)'

# Three lines on standard error: what happened, why, what to do. Then the end.
give_up() {
    printf '%s\n' "$1" "$2" "$3" >&2
    exit 1
}

chosen= without_venv= other=
try() {
    command -v "$1" >/dev/null 2>&1 || return
    "$1" -c "$probe" >/dev/null 2>&1
    case $? in
    0) chosen=$1 ;;
    3) without_venv=${without_venv:-$1} ;;
    4) other=${other:-$1} ;;
    esac
}

if [ -n "$PYTHON" ]; then
    try "$PYTHON"
    nothing="PYTHON names $PYTHON, which does not run here."
else
    # The environment's own Python comes last: it can still update an environment by itself.
    for name in python3.13 python3.12 python3.11 python3 python .venv/bin/python; do
        [ -n "$chosen" ] || try "$name"
    done
    nothing="Neither python3.13, python3.12, python3.11 nor python3 is on this machine's PATH."
fi

if [ -n "$chosen" ]; then
    exec "$chosen" scripts/set_up.py ${PYTHON:+--this-python} "$@"
elif [ -n "$without_venv" ]; then
    version=$("$without_venv" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    give_up "The course's environment cannot be made with $without_venv." \
        "This Python $version comes without ensurepip, as on Debian and Ubuntu without python3-venv." \
        "Run: sudo apt install python$version-venv    then the same make command again."
elif [ -n "$other" ]; then
    version=$("$other" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
    nothing="$other is Python $version."
fi
give_up "The course needs Python 3.11, 3.12 or 3.13." "$nothing" \
    "Install one (python.org, apt, brew), or name one: make lab PYTHON=/path/to/python3.12"
