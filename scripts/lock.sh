#!/usr/bin/env bash
# Writes requirements/dev.lock: one file, with hashes, for Python 3.10 to 3.13 on x86-64 and aarch64.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v uv >/dev/null || {
  echo "lock: needs uv: pip install uv" >&2
  exit 3
}
uv pip compile pyproject.toml --extra converters --extra test --constraint requirements/pins.txt \
  --universal --python-version 3.10 --no-python-downloads --generate-hashes --no-emit-index-url --no-emit-find-links \
  --custom-compile-command "make lock" --output-file requirements/dev.lock "$@"
