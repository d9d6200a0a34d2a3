"""The networks that learn what is not known of a noised fluid."""
