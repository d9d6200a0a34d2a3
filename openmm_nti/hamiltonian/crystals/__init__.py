"""Hamiltonians whose atoms have sites."""
