"""A TorchForce on three particles, run by `openmm-nti doctor` in a process of its own, for wrong
versions crash.

The force is U = lambda * sum of x^2 over three particles at x = 1, 2, 3 nm, so U = 14 lambda and
dU/dlambda = 14 kJ/mol. The System also goes through XML, where a mismatched OpenMM ends in a
segmentation fault. Prints JSON.
"""

from __future__ import annotations

import json
import sys
import warnings

import torch

LAMBDA = 0.5
ENERGY = 7.0
DERIVATIVE = 14.0


class _Harmonic(torch.nn.Module):
    def forward(self, positions: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
        """U = lambda sum x^2, kJ/mol; positions (3, 3), nm."""
        return lam * positions.square().sum()


def probe(platform_name: str) -> dict[str, float]:
    """Energy and dU/dlambda on one platform, kJ/mol, from a System that went through XML."""
    import openmm
    import openmmtorch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        force = openmmtorch.TorchForce(torch.jit.script(_Harmonic()))
    force.addGlobalParameter("lambda_probe", LAMBDA)
    force.addEnergyParameterDerivative("lambda_probe")
    system = openmm.System()
    for _ in range(3):
        system.addParticle(1.0)
    system.addForce(force)
    system = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    platform = openmm.Platform.getPlatformByName(platform_name)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions([openmm.Vec3(x, 0.0, 0.0) for x in (1.0, 2.0, 3.0)])
    state = context.getState(getEnergy=True, getParameterDerivatives=True)
    return {
        # In kJ/mol, without the package of units.
        "energy": state.getPotentialEnergy()._value,  # noqa: SLF001
        "derivative": state.getEnergyParameterDerivatives()["lambda_probe"],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe(sys.argv[1])))
