"""PDB files with sites of a crystal, and trajectories of one, for tests."""

import mdtraj
import numpy as np

from openmm_nti.fluid.displacements import sites_sigma


def trajectory(positions_sigma, state, names="Ar"):
    """Frames (F, N, 3) as mdtraj has them; `names` of all atoms, or of each."""
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for name in [names] * positions_sigma.shape[1] if isinstance(names, str) else names:
        element = mdtraj.element.get_by_symbol(name)
        topology.add_atom(name, element, topology.add_residue(name.upper(), chain))
    n = len(positions_sigma)
    return mdtraj.Trajectory(
        (positions_sigma * state.sigma_nm).astype(np.float32),
        topology,
        unitcell_lengths=np.tile(state.edges_nm, (n, 1)),
        unitcell_angles=np.full((n, 3), 90.0),
    )


def write_pdb(path, state, move=None, order=None):
    """The sites of a crystal, displaced by `move` (N, 3) in sigma and in another order."""
    sites = sites_sigma(state) + (0 if move is None else move)
    found = sites if order is None else sites[order]
    trajectory(found[None] % state.edges_sigma, state).save_pdb(str(path))
    return path


def vibrating(state, n_frames, seed, spread=0.06, drift=0.2):
    """Frames of independent vibrations and a drift, wrapped into the box, (F, N, 3), sigma."""
    rng = np.random.default_rng(seed)
    moved = spread * rng.standard_normal((n_frames, state.n_particles, 3))
    drifted = np.cumsum(rng.uniform(-drift / 4, drift, (n_frames, 1, 3)), axis=0)
    return (sites_sigma(state) + moved + drifted) % state.edges_sigma
