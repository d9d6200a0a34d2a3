"""Old import paths of version 0.1.0: each leads to the new place of its contents, or names it.

`import openmm_nti.forces` still works, and so on. A module whose contents went to several places
becomes a stand-in that finds each name where it is now. The import of a module that is gone for
good fails with a message that says what to use.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_ROOT = "openmm_nti."
# Old name: its new places below openmm_nti, the one with most of the contents first.
_NEW_PLACES = {
    "state": ("fluid.state",),
    "lj_fluid": ("fluid.energy", "fluid.lattice", "md.fluid_system"),
    "tasks": ("runtime.tasks",),
    "executors": ("runtime.executors",),
    "forces": ("md.forces", "md.readers", "md.python_energy", "md.openmm_energy"),
    **{
        name: (f"md.{name}",)
        for name in (
            "openmm_energy",
            "system_checks",
            "native_pair",
            "neural_path",
            "reporters",
            "replica_exchange",
            "switching",
            "platforms",
            "plugin",
        )
    },
    "hamiltonian.lennard_jones": ("hamiltonian.pair_energy",),
    "hamiltonian.noised_fluid": ("hamiltonian.known_terms",),
    "hamiltonian.noise": ("references.noise", "hamiltonian.conditioning"),
    "hamiltonian.learned_part": ("hamiltonian.networks.base",),
    "hamiltonian.network": (
        "hamiltonian.networks.density",
        "hamiltonian.networks.atomic_mlp",
        "hamiltonian.networks.registry",
    ),
    "hamiltonian.edges": ("hamiltonian.networks.edges",),
    "hamiltonian.descriptors": ("hamiltonian.networks.descriptors",),
    "hamiltonian.painn": ("hamiltonian.networks.painn",),
    "validation.window_data": ("validation.analysis.window_data",),
    "validation.mbar_equations": ("validation.analysis.mbar_equations",),
    "validation.mbar_ti": ("validation.analysis.window_estimates",),
    "validation.window_bootstrap": ("validation.analysis.window_bootstrap",),
    "validation.settling": ("validation.analysis.equilibration",),
    "validation.control_variates": ("validation.analysis.control_variates",),
    "validation.convergence": ("validation.analysis.convergence",),
    "validation.walker_bar": ("validation.analysis.walker_bar",),
    "validation.observables": ("validation.analysis.observables",),
    "validation.gr": ("validation.analysis.gr",),
    "validation.alchemlyb": ("validation.analysis.alchemlyb",),
    "validation.lambda_md": ("validation.sampling.windows",),
    "validation.lambda_windows": ("validation.sampling.placement",),
    "validation.lambda_langevin": ("validation.sampling.langevin",),
    "validation.lambda_hmc": ("validation.sampling.hmc",),
    "validation.lambda_exchange": ("validation.sampling.exchange",),
    "validation.path_values": ("validation.sampling.noised_frames",),
    "validation.corrector": ("validation.sampling.reverse_diffusion",),
    "validation.noising_paths": ("validation.sampling.noising_paths",),
    "validation.monte_carlo": ("validation.sampling.monte_carlo",),
    "validation.grand_canonical": ("validation.sampling.grand_canonical",),
    "validation.softcore_fluid": ("validation.sampling.softcore_fluid",),
    "validation.tethered_fluid": (
        "validation.sampling.tethered_fluid",
        "validation.sampling.metropolis",
    ),
    "validation.bounds": ("validation.estimators.denoising_bound",),
    "validation.model_bound": (
        "validation.estimators.model_bound",
        "validation.analysis.regression",
    ),
    "validation.tethered": ("validation.estimators.tethered",),
    "validation.path_weights": ("validation.estimators.path_weights",),
    "validation.neural_ti": ("validation.estimators.neural_ti",),
    "validation.noised_ti": ("validation.estimators.noised_ti",),
    "validation.softcore": ("validation.estimators.softcore",),
    "validation.decoupling": ("validation.estimators.decoupling",),
    "validation.bar_chain": ("validation.estimators.bar_chain",),
    "validation.widom": ("validation.estimators.widom", "validation.sampling.insertion"),
    "validation.eos": ("validation.estimators.eos",),
    "validation.report_figures": ("validation.report.figures",),
    "validation.checks": ("validation.report.judge",),
    "validation.verdicts": ("validation.report.judge", "free_energy"),
}
# Modules that have no successor, and what to use now.
_GONE = {
    "cli.estimators": "every estimator is an object in openmm_nti.validation.estimators.registry",
    "validation.cost": "Pace in openmm_nti.validation.pace measures this machine",
}


def install() -> None:
    """Make the old import paths work in this process; more calls change nothing."""
    if not any(isinstance(finder, _OldPaths) for finder in sys.meta_path):
        sys.meta_path.append(_OldPaths())


class _OldPaths(MetaPathFinder, Loader):
    """Finds modules by their old names; it is asked last, so it never hides a file."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for an old name; None for a name that this package never had."""
        del path, target
        if not fullname.startswith(_ROOT):
            return None
        name = fullname.removeprefix(_ROOT)
        if name in _GONE:
            raise ModuleNotFoundError(f"{fullname} is gone: {_GONE[name]}", name=fullname)
        return ModuleSpec(fullname, self) if name in _NEW_PLACES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the new module itself, or a stand-in where there are several."""
        places = _NEW_PLACES[spec.name.removeprefix(_ROOT)]
        modules = [importlib.import_module(_ROOT + place) for place in places]
        if len(modules) > 1:
            return _Several(spec.name, modules)
        spec.loader_state = modules[0].__spec__  # the import system overwrites it
        return modules[0]

    def exec_module(self, module: ModuleType) -> None:
        """Put a moved module's own spec back; the module itself is complete."""
        state = module.__spec__.loader_state if module.__spec__ else None
        if isinstance(state, ModuleSpec):
            module.__spec__ = state


class _Several(ModuleType):
    """Stand-in for an old module whose contents are in several modules now."""

    def __init__(self, name: str, modules: list[ModuleType]) -> None:
        super().__init__(name, f"Moved to {', '.join(module.__name__ for module in modules)}.")
        self._modules = modules

    def __getattr__(self, name: str) -> Any:
        for module in self.__dict__.get("_modules", ()):
            if hasattr(module, name):
                return getattr(module, name)
        places = ", ".join(module.__name__ for module in self.__dict__.get("_modules", ()))
        raise AttributeError(f"{self.__name__} has no {name}; its contents moved to {places}")
