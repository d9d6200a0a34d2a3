"""`Species`: one kind of atom."""

from __future__ import annotations

from pydantic import Field

from openmm_nti.settings import Settings


class Species(Settings):
    """A kind of atom: its name and mass. What it does to others is in the fluid's pairs."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9_+-]{1,20}$",
        description="Name, such as Ar: up to 20 letters, digits, _, + and -.",
    )
    mass_dalton: float = Field(gt=0, description="Mass of an atom, in Da.")
