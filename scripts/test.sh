#!/usr/bin/env bash
# Sets up as quickstart.sh does, checks style and format, and runs the tests, two at a time.
# Arguments are passed to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
ruff check .
ruff format --check .
python -m pytest -n 2 --dist worksteal "$@"
