"""Looking at a set of photos before anything is trained on it."""
