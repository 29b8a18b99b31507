"""Training: the image encoder, checkpoints, and the run that chains training, validation and test."""
