"""scikit-learn estimators and hidden Markov models to ONNX."""
