"""The workstation's converter: networks from package registries to ONNX model packages, each with a parity run behind it."""
