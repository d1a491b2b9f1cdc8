"""What all other packages build on: errors, files, configs, states, optimisers, method types."""
