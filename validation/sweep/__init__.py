"""One fluid at several temperatures: its thermodynamics from MD, anchored at one free energy."""
