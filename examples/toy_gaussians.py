"""Neural TI in one dimension: the free energy of two Gaussians, learned from samples.

The exact result is ln Z = ln 3.

Usage: python examples/toy_gaussians.py [STEPS], by default 1500 steps of training (seconds on one
core).
"""

import sys

from openmm_nti.validation.paper import toy

config = toy.ToyConfig(n_steps=int(sys.argv[1])) if len(sys.argv) > 1 else toy.ToyConfig()
result = toy.run(config, seed=1)
print(
    f"ln Z = {result.noised:.4f} ± {result.noised_err:.4f}  from noised samples, as good as the "
    "learned score"
)
print(
    f"ln Z = {result.exact:.4f} ± {result.exact_err:.4f}  from the learned energy's own samples, "
    "exact for any energy"
)
print(f"ln 3 = {toy.LOG_Z:.4f}")
