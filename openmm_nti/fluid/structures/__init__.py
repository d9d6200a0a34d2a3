"""Structures of crystals: the cell that repeats, its translations, and sites from a file."""
