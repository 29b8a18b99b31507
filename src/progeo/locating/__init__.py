"""Judging matches: the estimate of a position and how sure it is."""
