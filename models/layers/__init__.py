"""Layers that networks share, and every computation that is arranged for the sake of CPUs."""
