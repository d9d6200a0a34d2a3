"""What stands between a mistake and the work: checks, locks, and one line for every failure."""
