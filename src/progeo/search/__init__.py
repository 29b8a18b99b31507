"""Exact search among descriptors, and descriptors kept on disk."""
