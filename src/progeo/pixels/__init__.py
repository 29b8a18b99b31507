"""From photos to pixels: decoding and its limits, the reading recipe, reading ahead. Without torch."""
