"""Tables that come back from an editor, a script or a spreadsheet, however that wrote them."""

import csv
from pathlib import Path
from typing import NamedTuple

DELIMITERS = (";", "\t")  # looked for in the first line in this order; else a comma


class Row(NamedTuple):
    """The cells of a row without the blanks around them, and the line that it ends in."""

    line: int
    cells: list[str]


class Table(NamedTuple):
    """The rows that are not empty, at least one, all as long as the first."""

    rows: list[Row]
    decimal_comma: bool  # whether the numbers may have one

    def number(self, cell: str) -> float:
        """Raises ValueError where ``cell`` holds no number."""
        return float(cell.replace(",", ".") if self.decimal_comma else cell)


def read_table(path: Path) -> Table:
    """Read commas, semicolons or tabs between the columns, and decimal commas where that is not a comma.

    Raises:
        ValueError: no table in UTF-8; the message names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: no text in UTF-8: save it as CSV") from None
    first = text.lstrip().partition("\n")[0]
    delimiter = next((sign for sign in DELIMITERS if sign in first), ",")
    reader = csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True)
    try:
        rows = [Row(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: no CSV ({error})") from None
    if not rows:
        raise ValueError(f"{path}: the file holds no rows")
    n_cells = len(rows[0].cells)
    for line, cells in rows:
        if len(cells) != n_cells:
            comma = "; decimal commas need semicolons between the columns" if delimiter == "," else ""
            raise ValueError(f"{path}, line {line}: {len(cells)} columns, the first line has {n_cells}{comma}")
    return Table(rows, decimal_comma=delimiter != ",")
