#!/usr/bin/env bash
# Prints the interpreter that makes .venv: $PYTHON, else the one behind .venv, else python3, else a versioned one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The base interpreter: a .venv made from another .venv would die with it. A pyenv shim may exist and still refuse to run.
base_of() {
  "$1" -c 'import sys; (3, 10) <= sys.version_info[:2] <= (3, 13) or sys.exit(1); print(getattr(sys, "_base_executable", sys.executable))' 2>/dev/null
}

if [[ -n ${PYTHON:-} ]]; then
  base_of "$PYTHON" && exit
  command -v "$PYTHON" >/dev/null && found=$("$PYTHON" --version 2>&1) || found="nothing that runs"
  echo "setup: PYTHON=$PYTHON must be Python 3.10 to 3.13; got: $found" >&2
  exit 3
fi
for candidate in .venv/bin/python python3 python3.13 python3.12 python3.11 python3.10; do
  if command -v "$candidate" >/dev/null && base_of "$candidate"; then exit; fi
done
found=$(python3 --version 2>&1) || found="no python3"
echo "setup: no Python 3.10 to 3.13 on PATH; found: $found" >&2
echo "  install one, or name it: make setup PYTHON=/path/to/python3.12" >&2
exit 3
