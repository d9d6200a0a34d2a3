"""The phase diagram of a fluid, from free energies of many N in one box at several temperatures."""
