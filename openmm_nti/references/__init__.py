"""What lambda = 0 is, and how noise leads there."""
