"""The systems that we train: data, recipes and what they came to."""
