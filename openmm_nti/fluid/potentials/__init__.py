"""Pair potentials, one a file: a new file in this folder is a new `type` everywhere."""
