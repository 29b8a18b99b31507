"""Photos and where they were taken: the image table, groups, decoding, augmentation, sampling, the toy city."""
