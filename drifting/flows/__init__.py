"""Flows: the straight path from data to noise, its velocity fields, and how they are followed."""
