"""Ends with status 1 unless a wheel holds every file of the package that git knows.

    python .ci/check_wheel.py FILE.whl

Run from a checkout. The files are those below `openmm_nti` and the three stage folders.
"""

import subprocess
import sys
import zipfile

STAGES = ("reference_md", "training", "validation")


def installed(path):
    """Return where a file of the checkout lies after installation."""
    first, _, rest = path.partition("/")
    if first in STAGES:
        return f"openmm_nti/{path}"
    return f"openmm_nti_openmmml/{rest[10:]}" if rest.startswith("openmm_ml/") else path


def main(wheel):
    """Say in what the wheel differs from the checkout, and return the exit status."""
    command = ["git", "ls-files", "openmm_nti", *STAGES]
    tracked = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    wanted = {installed(path) for path in tracked}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    for name in sorted(wanted ^ held):
        sys.stdout.write(f"{'lacking' if name in wanted else 'not wanted'}: {name}\n")
    sys.stdout.write(f"{wheel}: {len(held)} files\n")
    return 1 if wanted != held or not wanted else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
