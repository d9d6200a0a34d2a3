"""`LambdaReporter`: lambda, dU/dlambda and reduced potentials as CSV, beside OpenMM's own reporters."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openmm import app, unit

from openmm_nti.forces import LAMBDA, dudl, reduced_potentials


class LambdaReporter:
    """Append a line every `reportInterval` steps: step, time, lambda_nti, dU/dlambda, and U at `lambdas`.

    Parameters
    ----------
    file
        CSV file to write. Columns: `step`, `time_ps`, `lambda_nti`, `dudl_kj_mol`, and `u_<lambda>` in kT for each of
        `lambdas`: rows of MBAR's u_kn.
    reportInterval
        Steps between lines.
    lambdas
        Couplings to evaluate every frame at, (K,); none by default.
    append
        Go on with the file of an earlier run, such as one resumed from a checkpoint. Lines at and after the present
        step, which that run wrote after its checkpoint, are dropped.

    Raises
    ------
    ValueError
        If the interval is not positive, or the file to append to has other columns.
    """

    def __init__(
        self,
        file: str | Path,
        reportInterval: int,
        *,
        lambdas: Sequence[float] = (),
        append: bool = False,
    ) -> None:
        if reportInterval < 1:
            raise ValueError(f"reportInterval = {reportInterval} must be at least 1: it is a number of steps")
        self._path, self._interval, self._lambdas, self._append = Path(file), reportInterval, tuple(lambdas), append
        self._columns = ["step", "time_ps", LAMBDA, "dudl_kj_mol", *(f"u_{value:g}" for value in self._lambdas)]
        self._out: Any = None

    def describeNextReport(self, simulation: app.Simulation) -> dict[str, Any]:  # noqa: N802 (OpenMM's protocol)
        """When the next line is due; it needs nothing that OpenMM would have to collect for it."""
        steps = self._interval - simulation.currentStep % self._interval
        return {"steps": steps, "periodic": None, "include": []}

    def report(self, simulation: app.Simulation, state: Any) -> None:
        """Write one line."""
        if self._out is None:
            self._open(simulation.currentStep)
        context = simulation.context
        values = reduced_potentials(context, self._lambdas) if self._lambdas else ()
        time_ps = state.getTime().value_in_unit(unit.picosecond)
        line = [simulation.currentStep, time_ps, context.getParameter(LAMBDA), dudl(context), *values]
        csv.writer(self._out).writerow(line)
        self._out.flush()

    def _open(self, step: int) -> None:
        kept = self._kept_lines(step) if self._append and self._path.is_file() else []
        self._out = self._path.open("w", newline="", encoding="utf-8")
        csv.writer(self._out).writerows([self._columns, *kept])

    def _kept_lines(self, step: int) -> list[list[str]]:
        with self._path.open(newline="", encoding="utf-8") as file:
            header, *lines = list(csv.reader(file)) or [[]]
        if header != self._columns:
            raise ValueError(f"{self._path} has the columns {header}, not {self._columns}: name another file")
        # A line that a kill cut short is not complete, and would not have been after the checkpoint either.
        return [line for line in lines if len(line) == len(header) and int(line[0]) < step]

    def __del__(self) -> None:
        if getattr(self, "_out", None) is not None:
            self._out.close()
