#!/usr/bin/env bash
# Makes .venv and fills it from requirements/dev.lock; does nothing when it is already so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=$(scripts/find_python.sh)
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
wanted=$(version_of "$python")

if [[ -e .venv ]]; then
  reason=
  if ! found=$(version_of .venv/bin/python); then
    reason="its Python is gone"
  elif [[ $found != "$wanted" ]]; then
    reason="it has Python $found and $wanted was asked for"
  elif ! grep -qF "$PWD/.venv" .venv/bin/activate; then
    reason="it was made for another folder"
  fi
  if [[ -n $reason ]]; then
    echo "setup: making .venv again: $reason"
    rm -rf .venv
  fi
fi
if [[ ! -e .venv ]]; then
  echo "setup: making .venv with $python (Python $wanted)"
  "$python" -m venv .venv
fi

stamp=.venv/installed.sha256
current=$(cat requirements/dev.lock pyproject.toml | sha256sum)
if [[ $(cat "$stamp" 2>/dev/null) == "$current" ]]; then
  echo "setup: .venv is up to date (Python $wanted)"
  exit
fi
echo "setup: installing requirements/dev.lock into .venv (a minute or two; PyGObject is compiled)"
if ! .venv/bin/python -m pip install --require-hashes -r requirements/dev.lock; then
  echo "setup: pip could not install requirements/dev.lock: see its message above" >&2
  echo "  it needs a package index; behind a mirror: pip config set global.index-url URL" >&2
  exit 3
fi
.venv/bin/python -m pip install --quiet --no-deps --editable .
echo "$current" >"$stamp"
