"""Methods for crystals: their path from the Einstein crystal, their modes, their conventions."""
