#!/usr/bin/env bash
# Makes .venv and fills it from a lock; does nothing when it is already so.
# Usage: scripts/virtualenv.sh run|frameworks      (frameworks: also PyTorch, Keras, scikit-learn and the like; what was installed stays)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The CPU build: the default one for x86-64 brings several GB for NVIDIA GPUs, which converting networks has no use for. It has an index of its own, beside the
# one that pip is set to; no hash is pinned, because each mirror may build its own.
torch="torch==2.13.0+cpu"
torch_index=https://download.pytorch.org/whl/cpu

stamp=.venv/installed.sha256
case ${1:-} in
  run) lock=requirements/dev.lock ;;
  frameworks) lock=requirements/frameworks.lock ;;
  *)
    echo "usage: scripts/virtualenv.sh run|frameworks" >&2
    exit 3
    ;;
esac

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

# A .venv that has the frameworks has what `run` needs.
current_of() { echo "$1 $(cat "$1" pyproject.toml scripts/virtualenv.sh | sha256sum)"; }
installed=$(cat "$stamp" 2>/dev/null || true)
if [[ $installed == "$(current_of "$lock")" || $installed == "$(current_of requirements/frameworks.lock)" ]]; then
  echo "setup: .venv is up to date (Python $wanted)"
  exit
fi
rm -f "$stamp"
if [[ $lock == requirements/frameworks.lock ]]; then
  if .venv/bin/python -c 'import importlib.metadata as m, sys; sys.exit(m.version("torch") != sys.argv[1])' "${torch#torch==}" 2>/dev/null; then
    echo "setup: $torch is there"
  else
    echo "setup: installing $torch (200 MB)"
    if ! .venv/bin/python -m pip install --retries 2 --no-deps --extra-index-url "$torch_index" "$torch"; then
      echo "setup: pip could not install $torch: see its message above" >&2
      echo "  it needs $torch_index, or a mirror of it: pip config set global.extra-index-url URL" >&2
      exit 3
    fi
  fi
fi
echo "setup: installing $lock into .venv (a minute or two; PyGObject is compiled)"
# The lock is whole: without --no-deps pip would ask for what requirements/overrides.txt leaves out.
if ! .venv/bin/python -m pip install --require-hashes --no-deps -r "$lock"; then
  echo "setup: pip could not install $lock: see its message above" >&2
  echo "  it needs a package index; behind a mirror: pip config set global.index-url URL" >&2
  exit 3
fi
.venv/bin/python -m pip install --quiet --no-deps --editable .
current_of "$lock" >"$stamp"
