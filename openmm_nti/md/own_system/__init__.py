"""A user's own OpenMM System: read as a fluid, with the learned path in place of its forces."""
