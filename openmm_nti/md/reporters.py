"""`LambdaReporter`: writes lambda, dU/dlambda and reduced potentials as CSV or Parquet."""

from __future__ import annotations

import csv
import importlib
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openmm
from openmm import app, unit

from openmm_nti.files import atomic_path
from openmm_nti.md.openmm_energy import LAMBDA
from openmm_nti.md.readers import check_sampling, dudl, reduced_potentials
from openmm_nti.references.coupling import checked_couplings


class LambdaReporter:
    """An OpenMM reporter that writes lambda and dU/dlambda to a file as a Simulation runs.

    Parameters
    ----------
    file
        File to write: Parquet if its name ends in .parquet, otherwise CSV. The columns are `step`,
        `time_ps`, `lambda_nti`, `dudl_kj_mol`, and `u_<lambda>` in kT for each of `lambdas`. The
        latter are MBAR's u_kn. A lambda is written in the fewest digits that give it back.
    reportInterval
        Number of steps between lines.
    lambdas
        Values of lambda in [0, 1] at which every frame is evaluated, (K,); none by default. A
        warning says if the thermostat is not at the model's temperature.
    append
        Whether to go on with the file of an earlier run that is resumed from a checkpoint. Lines
        which that run wrote after its checkpoint are dropped.

    Raises
    ------
    ValueError
        If the interval is not positive, a lambda is not in [0, 1] or given twice, or the file to
        append to has other columns.
    RuntimeError
        If Parquet is asked for and pyarrow is not installed.

    Notes
    -----
    A Parquet file cannot grow, so all of it is written anew at each line. Take CSV for many
    thousand lines.
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
            raise ValueError(
                f"reportInterval = {reportInterval} must be at least 1: it is a number of steps"
            )
        self._path = Path(file)
        self._interval = reportInterval
        self._lambdas = tuple(checked_couplings(lambdas, "lambdas").tolist())
        self._append = append
        self._columns = [
            "step",
            "time_ps",
            LAMBDA,
            "dudl_kj_mol",
            *(f"u_{_shortest(value)}" for value in self._lambdas),
        ]
        twice = [name for name, n in Counter(self._columns).items() if n > 1]
        if twice:
            raise ValueError(f"lambdas gives the column {twice[0]} twice: give each lambda once")
        self._parquet = (
            _ParquetFile(self._path, self._columns) if self._path.suffix == ".parquet" else None
        )
        self._out: Any = None

    # The name is OpenMM's.
    def describeNextReport(self, simulation: app.Simulation) -> dict[str, Any]:  # noqa: N802
        """Return when the next line is due; the reporter asks OpenMM for nothing else."""
        steps = self._interval - simulation.currentStep % self._interval
        return {"steps": steps, "periodic": None, "include": []}

    def report(self, simulation: app.Simulation, state: Any) -> None:
        """Write one line about the present step."""
        context = simulation.context
        if self._out is None and (self._parquet is None or self._parquet.rows is None):
            self._warn_of_temperature(context)
            self._open(simulation.currentStep)
        values = reduced_potentials(context, self._lambdas) if self._lambdas else ()
        time_ps = state.getTime().value_in_unit(unit.picosecond)
        line = [
            simulation.currentStep,
            time_ps,
            context.getParameter(LAMBDA),
            dudl(context),
            *values,
        ]
        if self._parquet is not None:
            self._parquet.add(line)
            return
        csv.writer(self._out).writerow(line)
        self._out.flush()

    def _warn_of_temperature(self, context: openmm.Context) -> None:
        """Say so if MBAR could not use the reduced potentials; a line at constant energy may be."""
        if not self._lambdas:
            return
        try:
            check_sampling(context)
        except ValueError as error:
            warnings.warn(f"{self._path.name}: {error}", stacklevel=2)

    def _open(self, step: int) -> None:
        if self._parquet is not None:
            self._parquet.start(step if self._append and self._path.is_file() else None)
            return
        kept = self._earlier_lines(step) if self._append and self._path.is_file() else []
        self._out = self._path.open("w", newline="", encoding="utf-8")
        csv.writer(self._out).writerows([self._columns, *kept])

    def _earlier_lines(self, step: int) -> list[list[str]]:
        """Return the file's lines of steps before `step`."""
        with self._path.open(newline="", encoding="utf-8") as file:
            header, *lines = list(csv.reader(file)) or [[]]
        if header != self._columns:
            raise ValueError(
                f"{self._path} has the columns {header}, not {self._columns}: name another file"
            )
        # A line that was cut short when the run was killed came after the checkpoint anyway.
        return [line for line in lines if len(line) == len(header) and int(line[0]) < step]

    def __del__(self) -> None:
        if getattr(self, "_out", None) is not None:
            self._out.close()


def _shortest(value: float) -> str:
    """Return `value` in the fewest digits that give it back: 1 and 0.5, but all 16 of 1/3."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


class _ParquetFile:
    """A table of numbers in a Parquet file, which is complete after every row."""

    def __init__(self, path: Path, columns: list[str]) -> None:
        try:
            self._arrow = importlib.import_module("pyarrow")
            self._io = importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            raise RuntimeError(
                f"{path.name} needs pyarrow: pip install 'openmm-nti[parquet]', or name a .csv file"
            ) from error
        types = [self._arrow.int64(), *[self._arrow.float64()] * (len(columns) - 1)]
        self._path = path
        self._schema = self._arrow.schema(list(zip(columns, types, strict=True)))
        self.rows: list[list[Any]] | None = None

    def start(self, before: int | None) -> None:
        """Start with the file's rows of steps below `before`; with no rows if that is None."""
        self.rows = []
        if before is None:
            return
        table = self._io.read_table(self._path)
        if table.column_names != self._schema.names:
            raise ValueError(
                f"{self._path} has the columns {table.column_names}, not {self._schema.names}: "
                "name another file"
            )
        rows = zip(*table.to_pydict().values(), strict=True)
        self.rows = [list(row) for row in rows if row[0] < before]

    def add(self, row: list[Any]) -> None:
        """Append one row and write the file."""
        rows = [*(self.rows or []), row]
        self.rows = rows
        columns = [self._arrow.array(column) for column in zip(*rows, strict=True)]
        with atomic_path(self._path) as temporary:
            self._io.write_table(self._arrow.table(columns, schema=self._schema), temporary)
