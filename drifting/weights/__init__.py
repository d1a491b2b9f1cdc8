"""Import and export of network weights: PyTorch, safetensors, the TensorFlow Inception graph."""
