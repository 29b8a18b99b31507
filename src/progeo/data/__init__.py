"""What a set of photos is: the image table, positions, published data sets, tools."""
