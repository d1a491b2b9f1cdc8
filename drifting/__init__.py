"""One-step image generators in JAX: fields, training methods, training and evaluation."""
