"""The commands and their options; heavy packages are imported inside the functions."""
