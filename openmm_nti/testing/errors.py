"""`ConformanceError`: what every check raises."""


class ConformanceError(AssertionError):
    """A rule that the package relies on is broken; the message says which, and by how much."""
