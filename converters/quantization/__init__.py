"""FP16 and INT8 forms of a package's networks: made, measured against FP32, and kept only where they keep the accuracy."""
