"""Tests of the room of open street-level services."""
