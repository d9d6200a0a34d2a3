"""A test of a TorchForce on three particles, for `openmm-nti doctor`.

It runs in its own process, because wrong versions crash. The force is U = lambda * sum of x^2 over
three particles at x = 1, 2, 3 nm, so U = 14 lambda and dU/dlambda = 14 kJ/mol. The System also goes
through XML, where an OpenMM that does not fit ends in a segmentation fault. The result is printed
as JSON.
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
        """Return U = lambda sum x^2 in kJ/mol, for positions (3, 3) in nm."""
        return lam * positions.square().sum()


def probe(platform_name: str) -> dict[str, float]:
    """Return energy and dU/dlambda in kJ/mol on a platform, of a System that went through XML."""
    import openmm
    import openmmtorch

    from openmm_nti.md.platforms import platform_properties

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
    integrator = openmm.VerletIntegrator(0.001)
    context = openmm.Context(system, integrator, platform, platform_properties(platform))
    context.setPositions([openmm.Vec3(x, 0.0, 0.0) for x in (1.0, 2.0, 3.0)])
    state = context.getState(getEnergy=True, getParameterDerivatives=True)
    return {
        # In kJ/mol, without the package of units.
        "energy": state.getPotentialEnergy()._value,  # noqa: SLF001
        "derivative": state.getEnergyParameterDerivatives()["lambda_probe"],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe(sys.argv[1])))
