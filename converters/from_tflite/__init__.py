"""TFLite networks to ONNX."""
