"""Measures of a conversion, beside those of its melody (`pipeline.pitch_comparison`): audio in, numbers out."""
