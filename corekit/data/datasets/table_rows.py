"""Rows of tables in files: CSV and TSV read where they lie, parquet held in memory."""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from corekit.data.datasets.base import BadSampleError
from corekit.data.storage import Storage
from corekit.errors import CorekitError
from corekit.printable import printable

SEPARATORS = (",", "\t", ";", "|")  # among which the first line of a table decides
SPELLINGS = {"tab": "\t", "\\t": "\t"}
Columns = Mapping[str, Sequence[str]]  # field -> the columns that may hold it
Cell = str | bytes


class Rows(Protocol):
    """The rows of a table; ``fingerprint`` is another one wherever they are others."""

    fingerprint: str

    def __len__(self) -> int: ...

    def row(self, number: int) -> dict[str, Cell]:
        """field -> its cell, where that is not empty; a BadSampleError where the row is broken."""
        ...

    def column(self, field: str) -> Iterator[str]:
        """The cells of a field, of all rows."""
        ...


def open_rows(storage: Storage, file: str, columns: Columns, separator: str | None) -> Rows:
    """The rows of a file; a CorekitError where it is no table or lacks a column."""
    if not storage.is_file(file):
        raise CorekitError(f"data.root={storage.where(file)} is not a file: name the table itself, "
                           "as in data.root=FOLDER/pairs.csv")
    if file.lower().endswith(".parquet"):
        return ParquetRows(storage, file, columns)
    return TextRows(storage, file, columns, separator)


class TextRows:
    """The rows of a CSV or TSV file, of which only the places are held.

    Quotes are as pandas has them: around a cell, and doubled inside.
    """

    def __init__(self, storage: Storage, file: str, columns: Columns,
                 separator: str | None) -> None:
        self.storage, self.file, self.where = storage, file, storage.where(file)
        first = self._first_line()
        self.separator = SPELLINGS.get(separator or "", separator) or max(SEPARATORS,
                                                                          key=first.count)
        if len(self.separator) != 1 or self.separator in '"\r\n':
            raise CorekitError(f"the separator of {self.where} must be one character, or tab, not "
                               f"'{printable(self.separator)}'")
        digest = hashlib.sha256(self.separator.encode())
        rows = self._rows(digest.update)
        self.header = [name.strip() for name in next(rows, ([""], 0, 0))[0]]
        self.numbers = {field: self.header.index(name)
                        for field, name in choose(columns, self.header, self.where).items()}
        self.places = np.array([(begin, end) for _, begin, end in rows],
                               dtype=np.int64).reshape(-1, 2)
        digest.update(json.dumps(sorted(self.numbers.items())).encode())
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.places)

    def row(self, number: int) -> dict[str, Cell]:
        begin, end = self.places[number].tolist()
        text = self.storage.read(self.file, begin, end).decode("utf-8", "surrogateescape")
        try:
            cells = next(csv.reader(io.StringIO(text, newline=""), delimiter=self.separator), [])
        except csv.Error as error:  # it changed since it was scanned
            raise BadSampleError("columns", str(error)) from None
        if len(cells) != len(self.header):
            raise BadSampleError("columns", f"it has {len(cells)} cells for {len(self.header)} "
                                 "columns: a cell that holds the separator needs quotes")
        return {field: cell for field, column in self.numbers.items()
                if (cell := cells[column].strip())}

    def column(self, field: str) -> Iterator[str]:
        number, rows = self.numbers[field], self._rows()
        next(rows)
        return (cells[number].strip() if number < len(cells) else "" for cells, _, _ in rows)

    def _first_line(self) -> str:
        content = self.storage.read(self.file, 0, 1 << 16)
        line = content.partition(b"\n")[0]
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise CorekitError(f"{self.where} is no text in UTF-8, as UTF-16 and compressed files "
                               "are none: save it as CSV in UTF-8")
        return text

    def _rows(self, update: Callable[[bytes], object] = len
              ) -> Iterator[tuple[list[str], int, int]]:
        """The cells of every row that is not blank, and where it begins and ends."""
        position = begin = 0

        def lines() -> Iterator[str]:
            nonlocal position
            with self.storage.open(self.file) as file:
                for line in file:
                    update(line)
                    text = line.decode("utf-8", "surrogateescape")
                    text = text if position else text.removeprefix("\ufeff")
                    position += len(line)
                    yield text

        reader = csv.reader(lines(), delimiter=self.separator)
        try:
            for cells in reader:
                if any(cells):
                    yield cells, begin, position
                begin = position
        except csv.Error as error:
            raise CorekitError(f"{self.where} cannot be read beyond line {reader.line_num}: {error}"
                               "; does a quote begin a cell there that no quote ends?") from None


class ParquetRows:
    """The rows of a parquet file: the columns that are asked for, in memory.

    A cell may be a picture's bytes, also inside ``{bytes, path}`` as Hugging Face's ``datasets``
    stores it.
    """

    def __init__(self, storage: Storage, file: str, columns: Columns) -> None:
        where = storage.where(file)
        try:
            from pyarrow import ArrowException, parquet
        except ImportError:
            raise CorekitError(f"{where} needs pyarrow: pip install 'corekit[parquet]'") from None
        content = storage.read(file)
        try:
            header = parquet.read_schema(io.BytesIO(content)).names
            chosen = choose(columns, header, where)
            table = parquet.read_table(io.BytesIO(content), columns=sorted({*chosen.values()}))
        except (ArrowException, OSError) as error:
            raise CorekitError(f"{where} cannot be read as parquet: "
                               f"{printable(' '.join(str(error).split()))[:200]}") from None
        self.columns = {field: table.column(name) for field, name in chosen.items()}
        self.rows: int = table.num_rows
        self.fingerprint = hashlib.sha256(content + json.dumps(chosen).encode()).hexdigest()

    def __len__(self) -> int:
        return self.rows

    def row(self, number: int) -> dict[str, Cell]:
        cells = {field: _cell(column[number].as_py()) for field, column in self.columns.items()}
        return {field: cell for field, cell in cells.items() if cell}

    def column(self, field: str) -> Iterator[str]:
        for number in range(self.rows):
            cell = _cell(self.columns[field][number].as_py())
            yield cell if isinstance(cell, str) else ""


def choose(columns: Columns, header: Sequence[str], where: str) -> dict[str, str]:
    """field -> its column; a CorekitError that lists the columns where one is not there."""
    chosen = {}
    for field, names in columns.items():
        known = [name for wanted in names for name in header if name.lower() == wanted.lower()]
        if not known:
            raise CorekitError(
                f"{where} has no column {' or '.join(names)} for {field}; its columns are "
                f"{', '.join(printable(name)[:80] for name in header[:20])}: name one, as in "
                f"data.dataset.fields.{field}=COLUMN, or --fields {field}=COLUMN of `corekit data "
                "check`")
        if header.count(known[0]) > 1:
            raise CorekitError(f"{where} has two columns called {known[0]}: rename one")
        chosen[field] = known[0]
    return chosen


def _cell(value: object) -> Cell:
    """What a cell of a parquet file holds: bytes as they are, or what it is as text."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if value is None:
        return ""
    return value if isinstance(value, bytes) else str(value).strip()
