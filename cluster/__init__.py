"""Clusters and indexes of a voice's units: how they are made, searched, written and read."""
