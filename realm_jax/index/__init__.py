"""Retrievers, which find passages for query rows by vectors or by words, and the snapshots that hold them."""
