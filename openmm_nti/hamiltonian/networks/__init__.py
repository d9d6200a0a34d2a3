"""The networks that learn the unknown part of the Hamiltonian of a noised fluid."""
