"""Installs the four top-level folders as one package, `training` as `openmm_nti.training`.

TorchForce needs exactly one build of the openmm-torch plugin. The `-cpu`, `-cu12` and `-cu13`
wheels hold the same files, so two of them in one environment overwrite each other. Each build is
therefore an extra, and none is a plain requirement: `pip install -e ".[cpu]"`, `".[cuda12]"` or
`".[cuda13]"` (docs/installation.md).

`dev` holds openmm-ml at 1.7 for its test: 1.8 wants OpenMM 8.6.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

# The version's one place is the package itself, which cannot be imported before it is installed.
VERSION = re.search(
    r'^__version__ = "(.+)"$',
    (Path(__file__).parent / "openmm_nti" / "__init__.py").read_text(encoding="utf-8"),
    re.MULTILINE,
)[1]

STAGES = ("reference_md", "training", "validation")

# Platforms for which openmm-torch wheels exist; elsewhere `openmm_nti.md.forces.python_force` takes
# over.
HAS_LINUX_WHEEL = 'sys_platform == "linux" and platform_machine == "x86_64"'
HAS_MAC_WHEEL = 'sys_platform == "darwin" and platform_machine == "arm64"'

setup(
    name="openmm-nti",
    version=VERSION,
    description="Excess free energies by Neural Thermodynamic Integration, with the learned "
    "Hamiltonian in OpenMM",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["openmm_nti", "openmm_nti.*"], exclude=["openmm_nti.openmm_ml"]),
        # openmm-ml imports it for all its users: not through openmm_nti, which loads torch
        "openmm_nti_openmmml",
        *(
            f"openmm_nti.{name}"
            for name in find_packages(include=[p for s in STAGES for p in (s, f"{s}.*")])
        ),
    ],
    package_dir={
        "openmm_nti_openmmml": "openmm_nti/openmm_ml",
        **{f"openmm_nti.{stage}": stage for stage in STAGES},
    },
    package_data={
        "openmm_nti": [
            "py.typed",
            "models/*/*",
            "models/*/denoiser/*",
            "kernels/*.cpp",
            "kernels/*.h",
        ],
        "openmm_nti.validation": ["report/templates/*"],
    },
    entry_points={
        "console_scripts": ["openmm-nti = openmm_nti.cli:app"],
        "openmmml.potentials": ["nti-lj = openmm_nti_openmmml:NtiPotentialImplFactory"],
    },
    install_requires=[
        "openmm>=8.5,<8.6",
        "torch>=2.11,<2.13",
        "numpy>=1.26,!=2.3.0,!=2.3.1,!=2.3.2",
        "scipy",
        "mdtraj",
        "tables",
        "h5py",
        "pymbar>=4.0.3",
        "pydantic>=2",
        "pyyaml",
        "safetensors",
        "typer",
        "rich",
        "matplotlib",
        "jinja2",
        "joblib",
        "filelock",
    ],
    extras_require={
        "cpu": [
            f"acellera-openmmtorch-cpu==1.10; {HAS_LINUX_WHEEL}",
            f"acellera-openmmtorch-cpu==1.10; {HAS_MAC_WHEEL}",
        ],
        "cuda12": [
            "openmm[cuda12]>=8.5,<8.6",
            f"acellera-openmmtorch-cu12==1.10; {HAS_LINUX_WHEEL}",
        ],
        "cuda13": [
            "openmm[cuda13]>=8.5,<8.6",
            f"acellera-openmmtorch-cu13==1.10; {HAS_LINUX_WHEEL}",
        ],
        "eos": ["teqp"],
        "alchemlyb": ["alchemlyb"],
        "parquet": ["pyarrow"],
        "dask": ["distributed"],
        "dev": [
            "teqp",
            "alchemlyb",
            "pyarrow",
            "distributed",
            "pytest",
            "pytest-cov",
            "pytest-xdist",
            "hypothesis",
            "ruff",
            "codespell",
            "mypy",
            "pre-commit",
            "openmmml==1.7",
        ],
        "docs": ["sphinx", "furo", "myst-parser", "jupytext"],
    },
    keywords=["free energy", "thermodynamic integration", "OpenMM", "neural network", "MBAR"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: MIT License",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Chemistry",
        "Topic :: Scientific/Engineering :: Physics",
        "Typing :: Typed",
    ],
)
