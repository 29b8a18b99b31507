"""Heads: from features to one descriptor an image."""
