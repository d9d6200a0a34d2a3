"""One free-energy estimator a file."""
