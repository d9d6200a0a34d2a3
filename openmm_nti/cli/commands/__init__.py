"""What each command takes, and nothing else: heavy packages are imported inside the functions."""
