#!/usr/bin/env bash
# Sets up everything: system packages, .venv, models and clips. Each step does nothing where nothing is to do.
# Usage: scripts/setup.sh run|frameworks|test
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

what=${1:-run}
if [[ $what == test ]]; then scripts/system_packages.sh test; else scripts/system_packages.sh run; fi
if [[ $what == run ]]; then scripts/virtualenv.sh run; else scripts/virtualenv.sh frameworks; fi
.venv/bin/python -m converters pull default
.venv/bin/python -m converters pull sample
if [[ $what == test ]]; then
  .venv/bin/python -m converters pull clips
  .venv/bin/python -m converters pull mesh-chain
  # Tests without it are skipped, with the reason; all others run.
  scripts/tensorflow.sh || echo "setup: going on without TensorFlow" >&2
fi
