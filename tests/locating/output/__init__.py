"""Tests of the formats of located photos."""
