"""PyTorch checkpoints and programs to ONNX."""
