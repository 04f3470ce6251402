"""TensorRT and TensorRT for RTX: plans built on the device that runs them, or ahead of time, and the engine that runs a plan."""
