"""Shallow diffusion: a place kept for it. Not available yet: train_diff.py and -shd say so."""
