#!/usr/bin/env bash
# Sets up everything: system packages, .venv, models and clips. Each step does nothing where nothing is to do.
# Usage: scripts/setup.sh run|test
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/system_packages.sh "${1:-run}"
scripts/virtualenv.sh
.venv/bin/python -m converters pull default
.venv/bin/python -m converters pull sample
if [[ ${1:-run} == test ]]; then .venv/bin/python -m converters pull clips; fi
