"""table.csv holds what table.json holds, whatever characters are in it."""

import csv

from openmm_nti.files import read_json
from openmm_nti.validation.paper.table import write_table


def test_quotes_commas_and_line_breaks_come_back(tmp_path):
    note = 'a "quoted" word, a comma\nand a second line'
    write_table(tmp_path, [{"method": "x", "note": note, "residual": 0.5, "value": None}], {})
    with (tmp_path / "table.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["note"] == read_json(tmp_path / "table.json")["rows"][0]["note"] == note
    assert (row["residual"], row["value"]) == ("0.5", "")
