"""The HTTP shell: features and predictions."""
