"""Draw fluids and mixtures for the training of a model of a family, at random but repeatably.

Usage: python examples/draw_family.py FLUIDS MIXTURES [SEED] > family.yaml, then `openmm-nti
generate family.yaml --output family` and `openmm-nti train family.yaml --output family`, which both
go on after an interruption. The other keys are those of lj_family.yaml beside.

T* is between 0.7 and 4. There are 30 to 250 atoms. Densities reach from 0.02 to freezing, outside
of the region where vapour and liquid coexist. In a mixture the second species is 0.6 to 1.6 times
as large, its wells are 0.4 to 2.5 times as deep, and a third of the mixtures do not obey the mixing
rule. It is as dense and as cold as the fluid of one species with the mean size and well.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

SIGMA_NM, EPSILON, KELVIN, DALTON = 0.3405, 0.99607, 119.8, 39.948  # argon
SIGHT = 2.3  # of the network, in sizes of the largest pair: half the box must hold it
FREEZING = (0.90735, -0.27120, 0.91784, -1.16270, 0.68012, -0.15284)  # Mastny and de Pablo, 2007
CRITICAL, VAPOUR, LIQUID = 1.2, 0.03, 0.75  # about where vapour and liquid coexist


def density(rng: np.random.Generator, t: float) -> float:
    """Return a density of one phase at T*."""
    freezing = t**0.25 * sum(c / t**k for k, c in enumerate(FREEZING))
    while True:
        rho = rng.uniform(0.02, freezing)
        if t > CRITICAL or not VAPOUR < rho < LIQUID:
            return float(rho)


def fluid(rng: np.random.Generator) -> dict[str, Any]:
    """Return the state point of one species."""
    while True:
        t, n = float(np.exp(rng.uniform(np.log(0.7), np.log(4.0)))), int(rng.integers(30, 251))
        rho = density(rng, t)
        edge = (n / rho) ** (1 / 3)
        if edge >= 5.1:
            cutoff = min(3.0, 0.4999 * edge)
            lengths = {"cutoff_sigma": round(cutoff, 4), "switch_sigma": round(0.85 * cutoff, 4)}
            box = {"n_particles": n, "box_length_sigma": round(edge, 4)}
            return {**box, "temperature_star": round(t, 4), **lengths}


def mixture(rng: np.random.Generator, number: int) -> dict[str, Any]:
    """Return the state point of two species."""
    while True:
        size, well = np.exp(rng.uniform(np.log([0.6, 0.4]), np.log([1.6, 2.5]))).tolist()
        share, n = rng.uniform(0.1, 0.9), int(rng.integers(60, 251))
        second = round(share * n)
        x = np.array([n - second, second]) / n
        sizes = np.array([[1, 0.5 * (1 + size)], [0.5 * (1 + size), size]])
        wells = np.array([[1, well**0.5], [well**0.5, well]])
        own = rng.uniform(0.85, 1.15, 2) if rng.random() < 1 / 3 else np.ones(2)
        sizes[[0, 1], [1, 0]] *= 0.5 + 0.5 * own[0]
        wells[[0, 1], [1, 0]] *= own[1]
        volume = float(x @ sizes**3 @ x)
        t = float(np.exp(rng.uniform(np.log(0.8), np.log(4.0))))
        edge = (n * volume / density(rng, t)) ** (1 / 3)
        if edge < 2.05 * SIGHT * sizes.max():
            continue
        cutoff = min(3.0 * float(sizes.max()), 0.4999 * edge)
        atoms = {"mass_dalton": DALTON}
        first = {"n_particles": n - second, "sigma_nm": SIGMA_NM, "epsilon_kj_mol": EPSILON}
        other = {
            "n_particles": second,
            "sigma_nm": round(SIGMA_NM * size, 6),
            "epsilon_kj_mol": round(EPSILON * well, 6),
        }
        state = {
            "temperature_kelvin": round(t * KELVIN * float(x @ (wells * sizes**3) @ x / volume), 4),
            "box_length_nm": round(edge * SIGMA_NM, 5),
            "species": {"A": first | atoms, f"B{number}": other | atoms},
            "potential": {
                "type": "lennard_jones",
                "cutoff_nm": round(cutoff * SIGMA_NM, 5),
                "switch_nm": round(0.85 * cutoff * SIGMA_NM, 5),
            },
        }
        if own[0] != 1.0:
            state["pairs"] = {
                f"A-B{number}": {
                    "sigma_nm": round(float(SIGMA_NM * sizes[0, 1]), 6),
                    "epsilon_kj_mol": round(float(EPSILON * wells[0, 1]), 6),
                }
            }
        return state


n_fluids, n_mixtures, seed = (*map(int, sys.argv[1:]), *(1,))[:3]
generator = np.random.default_rng(seed)
drawn = [fluid(generator) for _ in range(n_fluids)]
drawn += [mixture(generator, number + 1) for number in range(n_mixtures)]
beside = Path(sys.argv[0]).with_name("lj_family.yaml")
others = yaml.safe_load(beside.read_text(encoding="utf-8"))
yaml.safe_dump(others | {"seed": seed, "system": drawn}, sys.stdout, sort_keys=False)
