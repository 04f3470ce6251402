#!/usr/bin/env bash
# Runs the benchmarks, one after the other, and writes their report: OUT/report.html and OUT/report.md, beside every command's JSON and output.
# Usage: scripts/bench.sh quick|full [OUT]     (OUT: out/bench)
#   quick  latency, two peers, limits and scaling with fewer samples: under 15 minutes on two cores, once the peers' environments are there
#   full   everything with every sample, the gate's proof, and accuracy where EDGE_FER2013 names fer2013_ferplus.npz (EDGE_FACE_GEOMETRY: ict_facekit.npz)
# Exit code: the report's, 0 where every budget is kept and 1 where not; a command that could not do its work (2 and more) ends it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

profile=${1:-}
out=${2:-out/bench}
if [[ $profile != quick && $profile != full ]]; then
  echo "bench: expected quick or full, got '$profile'" >&2
  exit 2
fi
python=${EDGE_PYTHON:-.venv/bin/python}
mkdir -p "$out"
rm -f "$out"/*.json # figures of another run would stand in this one's report
said() { echo "bench: $*" >&2; }

step() { # NAME COMMAND...: one measurement; a broken budget or an invalid run (1) does not keep the others from being made
  local name=$1 began=$SECONDS code=0
  shift
  said "$name ..."
  "$python" -m benchmarks "$@" --json "$out/$name.json" >"$out/$name.txt" 2>"$out/$name.log" || code=$?
  if ((code > 1)); then
    tail -n 12 "$out/$name.log" >&2
    said "$name failed with $code after $((SECONDS - began)) s: $out/$name.log"
    exit "$code"
  fi
  said "$name: $([[ $code == 0 ]] && echo 'every budget kept' || echo 'not every budget kept, or invalid'), $((SECONDS - began)) s"
}

if [[ $profile == quick ]]; then
  step latency latency --frames 400 --queries 128
  step peers peers --peer fer --peer mediapipe --rounds 3 --clip-only
  step limits limits --quick
  step scaling scaling --quick
else
  step latency latency
  step peers peers
  step limits limits
  step scaling scaling
  step gate gate --prove --profile full
  if [[ -n ${EDGE_FER2013:-} ]]; then
    step accuracy accuracy --data "$EDGE_FER2013" --peers ${EDGE_FACE_GEOMETRY:+--geometry "$EDGE_FACE_GEOMETRY"}
  else
    said "accuracy: not run: EDGE_FER2013 names no fer2013_ferplus.npz"
  fi
fi

code=0
"$python" -m benchmarks report "$out" -o "$out" --card converters/trained/default/precisions/card.json \
  ${EDGE_CANDIDATES:+--candidates "$EDGE_CANDIDATES"} || code=$?
said "$SECONDS s in all"
exit "$code"
