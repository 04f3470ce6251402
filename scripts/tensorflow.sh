#!/usr/bin/env bash
# Makes the environment in which SavedModels are converted: TensorFlow (1.6 GB), apart from .venv, in the user's cache. Does nothing when it is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

requirement=$(.venv/bin/python -c 'from converters.from_keras.saved_model import TENSORFLOW; print(TENSORFLOW)')
folder=$(.venv/bin/python -c 'from converters.from_keras.saved_model import tensorflow_folder; print(tensorflow_folder())')
if .venv/bin/python -c 'from converters.from_keras.saved_model import tensorflow_python; tensorflow_python()' 2>/dev/null; then
  echo "setup: TensorFlow is there"
  exit
fi
echo "setup: installing $requirement into $folder (250 MB to fetch, 1.6 GB; a minute)"
rm -rf "$folder"
.venv/bin/python -m venv "$folder"
if ! "$folder/bin/pip" install --quiet --retries 2 "$requirement"; then
  rm -rf "$folder"
  echo "setup: pip could not install $requirement: see its message above" >&2
  exit 3
fi
