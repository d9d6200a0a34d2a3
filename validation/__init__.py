"""Free-energy estimators, each in one file, and the report."""
