"""What interacts: units, state points, energies and lattices; numpy and pydantic alone."""
