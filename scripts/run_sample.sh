#!/usr/bin/env bash
# The main job on the sample clip; with a window where a display answers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The variables outlive their servers (ssh, tmux): only a socket that is there counts.
window=()
if [[ -n ${WAYLAND_DISPLAY:-} && -S ${XDG_RUNTIME_DIR:-}/$WAYLAND_DISPLAY ]] ||
  [[ ${DISPLAY:-} =~ ^:([0-9]+) && -S /tmp/.X11-unix/X${BASH_REMATCH[1]} ]]; then
  window=(--display window)
fi
mkdir -p out
set -x
.venv/bin/edge-run --source sample --output out/sample.jsonl --summary out/summary.json --annotate out/sample.mp4 "${window[@]}"
