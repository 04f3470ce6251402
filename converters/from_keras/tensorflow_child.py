"""Run by a Python that has TensorFlow, in a process of its own: converts a SavedModel to TFLite, or runs it. Prints one line of JSON.

    python tensorflow_child.py convert FOLDER OUT.tflite
    python tensorflow_child.py run FOLDER INPUTS.npz OUTPUTS.npz

It imports nothing of this project, which that Python need not have.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf  # type: ignore[import-untyped]  # not in this project's environment

SIGNATURE = "serving_default"


def main(task: str, folder: str, *files: str) -> dict[str, object]:
    """Do one of the two tasks.

    Returns:
        TensorFlow's version; of a conversion also the names of the signature's inputs and outputs by TFLite tensor.
    """
    if task == "convert":
        with tempfile.TemporaryDirectory() as single:
            save_for_one(folder, single)
            content = tf.lite.TFLiteConverter.from_saved_model(single).convert()
        Path(files[0]).write_bytes(content)
        interpreter = tf.lite.Interpreter(model_content=content)
        tensors = {tensor["index"]: tensor["name"] for tensor in interpreter.get_tensor_details()}
        signature = interpreter._get_full_signature_list()[SIGNATURE]
        names = {end: {tensors[index]: name for name, index in signature[end].items()} for end in ("inputs", "outputs")}
        return {"version": tf.__version__, **names}
    function = tf.saved_model.load(folder).signatures[SIGNATURE]
    with np.load(files[0], allow_pickle=False) as inputs:
        outputs = function(**{name: tf.constant(inputs[name]) for name in inputs.files})
    np.savez(files[1], **{name: value.numpy() for name, value in outputs.items()})
    return {"version": tf.__version__}


def save_for_one(folder: str, single: str) -> None:
    """Save a SavedModel again with a batch of 1, so that no shape is left to compute at run time."""
    program = tf.saved_model.load(folder)
    if SIGNATURE not in program.signatures:
        sys.exit(f"expected the signature '{SIGNATURE}', got {sorted(program.signatures) or 'none'}: export it with model.export(...)")
    signature = program.signatures[SIGNATURE]
    specs = {}
    for name, spec in signature.structured_input_signature[1].items():
        if spec.dtype != tf.float32 or spec.shape.rank is None or None in spec.shape[1:]:
            sys.exit(f"input '{name}' is {spec.dtype.name}{spec.shape}: expected float32 with every size but the batch fixed")
        specs[name] = tf.TensorSpec([1, *spec.shape[1:]], spec.dtype, name)
    fixed = tf.function(lambda **inputs: signature(**inputs)).get_concrete_function(**specs)
    tf.saved_model.save(program, single, signatures={SIGNATURE: fixed})


if __name__ == "__main__":
    try:
        answer = main(*sys.argv[1:])
    except Exception as error:  # TensorFlow raises many kinds, and says the most in the first lines
        raise SystemExit(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
    sys.stdout.write(json.dumps(answer) + "\n")
