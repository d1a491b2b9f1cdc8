"""The ground that the rest shares: errors, files, configs, states, optimisers, method types."""
