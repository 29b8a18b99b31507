"""Putting a model to use: a database of photos with known positions, and where other photos were taken."""
