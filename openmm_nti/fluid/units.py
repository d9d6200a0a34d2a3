"""Physical constants and the units that parameters count in."""

from __future__ import annotations

GAS_CONSTANT_KJ_MOL_K = 8.31446261815324e-3
DALTON_NM2_PS2_IN_KJ_MOL = 1.0  # 1 Da nm^2 / ps^2 is 1 kJ/mol: OpenMM's unit system is coherent.


def in_units(name: str, value: float, length_nm: float, energy_kj_mol: float) -> float:
    """Return a parameter in other units; its name tells whether it is a length or an energy.

    Names that end with `_nm` are lengths, those that end with `_kj_mol` are energies. Anything else
    is a pure number and stays as it is.
    """
    if name.endswith("_nm"):
        return value / length_nm
    if name.endswith("_kj_mol"):
        return value / energy_kj_mol
    return value
