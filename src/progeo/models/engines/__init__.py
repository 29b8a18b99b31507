"""Engines: what runs a model, from pixels to descriptors."""
