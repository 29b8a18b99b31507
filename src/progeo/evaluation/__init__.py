"""Evaluation: exact search, recall, pictures of predictions, and a report to open in the browser."""
