"""Working on sets of photos: split, convert, frames of videos, duplicates."""
