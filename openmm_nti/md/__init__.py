"""Everything that touches OpenMM: forces, readers, Systems, exchange and reporters."""
