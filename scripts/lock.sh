#!/usr/bin/env bash
# Writes requirements/dev.lock: one file, with hashes, for Python 3.10 to 3.13 on x86-64 and aarch64.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v uv >/dev/null || {
  echo "lock: needs uv: pip install uv" >&2
  exit 3
}
compile() {
  uv pip compile "$@" --constraint requirements/pins.txt --override requirements/overrides.txt \
    --universal --python-version 3.10 --no-python-downloads --generate-hashes --no-emit-index-url --no-emit-find-links \
    --custom-compile-command "make lock"
}

compile pyproject.toml --extra converters --extra test --output-file requirements/dev.lock "$@"
# The same and the frameworks, for `make frameworks` and `make test`. PyTorch's own needs are listed by hand: its packages for NVIDIA GPUs, several GB, are not
# wanted.
compile pyproject.toml requirements/torch-needs.txt --extra converters --extra rtx --extra test --extra frameworks --extra train \
  --constraint requirements/dev.lock --output-file requirements/frameworks.lock "$@"
