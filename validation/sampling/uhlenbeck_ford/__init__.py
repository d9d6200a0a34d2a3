"""The path from the ideal gas to a fluid by way of the Uhlenbeck-Ford fluid."""
