"""The paper's figures with numbers, error bars and every baseline beside them: `openmm-nti paper`.

B. Mate, F. Fleuret, T. Bereau, J. Phys. Chem. Lett. 15, 11395 (2024), arXiv 2406.02313.
"""
