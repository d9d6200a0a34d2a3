"""Displacements of atoms from their sites, and whether they are those of the crystal."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from openmm_nti.fluid.crystal import Crystal
from openmm_nti.fluid.energy import nearest_image
from openmm_nti.fluid.state import StatePoint
from openmm_nti.fluid.structures.translations import nearest_distances

_ROUNDS = 5  # in which the place of a crystal is found
_MOLTEN = 0.05  # of the atoms nearer to another site than to their own
_FEWEST_FRAMES = 20  # for a mean position
_LARGEST_OFFSET = 0.5  # of a mean position, in root mean square displacements about it


def crystal_of(state: StatePoint) -> Crystal:
    """Return the crystal of a state point; ValueError for a fluid."""
    if state.crystal is None:
        raise ValueError(
            f"{state} is a fluid, and this is of a crystal: give "
            "system: {crystal: {lattice: fcc, cells: [4, 4, 4]}, ...}"
        )
    return state.crystal


def sites_sigma(state: StatePoint) -> np.ndarray:
    """Return the sites of a crystal, (N, 3), sigma; ValueError for a fluid."""
    return np.asarray(crystal_of(state).fractions * state.edges_sigma)


def displacements(positions_sigma: np.ndarray, state: StatePoint) -> np.ndarray:
    """Return the displacements of atoms from their sites, after a check that these are theirs.

    The crystal as a whole may have drifted, also through the boundaries. This is taken out: the sum
    of the displacements of each frame is zero.

    Parameters
    ----------
    positions_sigma
        Positions, wrapped or not. Shape (F, N, 3), sigma.
    state
        A crystal. Atom n belongs to site n.

    Returns
    -------
    np.ndarray
        Shape (F, N, 3), sigma.

    Raises
    ------
    ValueError
        If the state is a fluid, the crystal has melted or is another one, or an atom has left its
        site.
    """
    moved = without_drift(
        np.asarray(positions_sigma, dtype=np.float64), sites_sigma(state), state.edges_sigma
    )
    check_sites(moved, sites_sigma(state), state.edges_sigma, f"{crystal_of(state).lattice} ")
    return moved


def without_drift(positions: np.ndarray, sites: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return displacements from sites whose sum over the atoms is zero, (F, N, 3).

    Parameters
    ----------
    positions, sites, box
        Shapes (F, N, 3), (N, 3) and (3,), in one unit, which is that of the result.
    """
    moved = positions - sites
    # The mean on a circle finds the drift, whichever image of an atom a frame shows.
    turns = np.exp(2j * np.pi * moved / box).mean(axis=1, keepdims=True)
    moved = nearest_image(moved - box / (2 * np.pi) * np.angle(turns), box)
    return np.asarray(moved - moved.mean(axis=1, keepdims=True))


def about_sites(positions_sigma: np.ndarray, state: StatePoint) -> np.ndarray:
    """Return the positions about their sites, without drift; see `displacements`."""
    return sites_sigma(state) + displacements(positions_sigma, state)


def check_sites(moved: np.ndarray, sites: np.ndarray, box: np.ndarray, name: str = "") -> None:
    """Refuse frames in which an atom is nearer to another site than to its own.

    Parameters
    ----------
    moved, sites, box
        As for `without_drift`.
    name
        Of the lattice, for the message.
    """
    tree = KDTree(sites % box % box, boxsize=box)
    half = 0.5 * nearest_distances(sites / box, box)
    away = ~((moved**2).sum(axis=-1) < half**2)
    frames, atoms = np.nonzero(away & np.isfinite(moved).all(axis=-1))
    places = (sites[atoms] + moved[frames, atoms]) % box % box
    away[frames, atoms] = tree.query(places)[1] != atoms
    if not away.any():
        return
    frame = int(np.argmax(away.mean(axis=1)))
    share = float(away[frame].mean())
    if share > _MOLTEN:
        raise ValueError(
            f"frame {frame}: {share:.0%} of the atoms are nearer to another site of the {name}"
            "lattice than to their own: the crystal has melted or has another lattice; raise the "
            "density, lower the temperature, or correct lattice, cells and the order of the atoms"
        )
    atom = int(np.argmax(away[frame]))
    raise ValueError(
        f"frame {frame}: atom {atom} has left its site for another one: atoms that diffuse, or "
        "vacancies, are not in the free energy of a crystal; raise the density, lower the "
        "temperature, or leave the frames out"
    )


def check_mean_positions(moved: np.ndarray, state: StatePoint) -> None:
    """Refuse independent frames whose atoms vibrate about other places than the sites.

    Parameters
    ----------
    moved
        From `displacements`. Shape (F, N, 3), sigma.
    state
        A crystal.
    """
    if len(moved) < _FEWEST_FRAMES:
        return
    mean = moved.mean(axis=0)
    offset, spread = np.sqrt((mean**2).mean()), np.sqrt(((moved - mean) ** 2).mean())
    if not offset <= _LARGEST_OFFSET * spread:
        raise ValueError(
            f"the atoms vibrate about places {offset:.3g} sigma from the sites, by {spread:.3g} "
            f"sigma: the structure is not {crystal_of(state).lattice}, or the frames are of too "
            "short a time"
        )


def order_of_sites(positions_sigma: np.ndarray, state: StatePoint) -> np.ndarray:
    """Return which atom is at each site, (N,), for a frame that numbers its atoms otherwise.

    The crystal may be anywhere in the box, but its axes are those of the lattice.

    Parameters
    ----------
    positions_sigma
        One frame. Shape (N, 3), sigma.
    state
        A crystal.

    Raises
    ------
    ValueError
        If the state is a fluid, or two atoms are nearest to one site.
    """
    sites, box = sites_sigma(state), state.edges_sigma
    tree = KDTree(sites, boxsize=box)
    found = []
    for site in sites[crystal_of(state).cell.distinct]:
        shift = positions_sigma[0] - site
        for _ in range(_ROUNDS):
            inside = (positions_sigma - shift) % box
            nearest = tree.query(inside % box)[1]  # a tiny negative number's remainder is the edge
            moved = nearest_image(inside - sites[nearest], box)
            shift = shift + moved.mean(axis=0)
        found.append((float((moved**2).sum()), nearest))
    nearest = min(found, key=lambda one: one[0])[1]
    if len(np.unique(nearest)) < len(sites):
        raise ValueError(
            f"atoms share sites of the {crystal_of(state).lattice} lattice in the first frame: the "
            "crystal has vacancies, has melted or has another lattice; correct lattice and cells"
        )
    return np.argsort(nearest)
