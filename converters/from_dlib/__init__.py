"""dlib's face embedding network to ONNX."""
