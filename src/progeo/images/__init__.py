"""Photos and where they were taken: the image table, CosPlace groups, decoding, augmentation, sampling, the toy city."""
