"""The documents' Keras networks."""
