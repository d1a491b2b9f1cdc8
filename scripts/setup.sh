# Sourced by quickstart.sh and test.sh: activates an environment with everything installed.
# An active environment is used, or else .venv, which is created if needed.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -z "${VIRTUAL_ENV:-}" ]; then
    if [ ! -x .venv/bin/python ]; then
        python="$(command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)"
        echo "creating .venv with $python"
        "$python" -m venv .venv
    fi
    source .venv/bin/activate
fi
constraints=()
if python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
    constraints=(-c constraints.txt)  # pinned for Python 3.11
fi
# Installs again only when the requirements have changed.
stamp="$VIRTUAL_ENV/.drifting-installed"
wanted="$(cat pyproject.toml constraints.txt | sha256sum)"
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "installing (about two minutes the first time)"
    python -m pip install --quiet --disable-pip-version-check "${constraints[@]}" -e '.[test]'
    echo "$wanted" > "$stamp"
fi
