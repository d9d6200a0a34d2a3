"""Where a fluid and its crystal coexist, from one free energy of each and their pressures."""
