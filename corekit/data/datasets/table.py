"""The ``table`` dataset: paths and captions in rows of a CSV, TSV or parquet file."""

import errno
import os
import re
import stat

from corekit.data.datasets.base import BadSampleError, Sample, last_part
from corekit.data.datasets.folder import SHARD, permutation, sizes_of_shards
from corekit.data.datasets.table_rows import Cell, open_rows
from corekit.data.fields import Label, Text, find_fields
from corekit.data.shards.members import RawSample, decode_sample
from corekit.data.storage import Storage, read_lines
from corekit.errors import CorekitError
from corekit.files import leaves_folder
from corekit.registry import register

NUMBER = re.compile(r"-?\d+(\.0)?")  # pandas writes 3.0 where another row has none
# columns that are looked for by default; `filepath` and `title` are open_clip's
COLUMNS = {
    "image": "image;filepath;file_path;image_path;path;filename;file_name;file;image_name;img",
    "text": "text;caption;title;description;comment;txt",
    "label": "label;class;category;target",
}


@register("dataset", "table")
class Table:
    """A list of pictures and captions, as open_clip's ``--train-data pairs.csv`` takes it.

    Each row is a sample, whose key is the picture's path. Paths count from the folder of the table;
    of a local one they may also be absolute or begin with ``~``. A parquet file may also hold the
    pictures themselves. Rows are numbered in an order of their own, the same everywhere, so that
    neighbours, which are read together, are not all of one class.

    Args:
        root: the file, local or remote; ``data.root`` where the recipe gives none. Parquet where it
            ends so, else text in UTF-8 with a first line of column names. None: no samples, as a
            dry run needs it.
        fields: field -> the columns that may hold it, separated by ``;``, the first one there is
            taken. Default: image and text, under the usual names. Labels that are no numbers are
            names of classes: they are numbered as in a ``classnames.txt`` beside the table, else in
            the order of the alphabet.
        separator: of the columns, such as ``,`` or ``tab``; None: the one that the first line has.
        group: whether rows with one picture are one sample with a caption a line, as retrieval
            wants several captions of a picture. Other fields are those of its first row.

    Raises:
        CorekitError: no such file, no such column, no rows, or no table.
    """

    def __init__(self, root: str | None, fields: dict[str, str] | None = None,
                 separator: str | None = None, group: bool = False) -> None:
        columns = {field: (names or COLUMNS.get(field, field)).split(";")
                   for field, names in (fields or {"image": "", "text": ""}).items()}
        self.fields, self.decoders = tuple(columns), find_fields(tuple(columns))
        self.extensions = {field: [(*entry.extensions, field)[0]]
                           for field, entry in self.decoders.items()}
        self.name, self.fingerprint = last_part(root or "table"), ""
        self.class_names: list[str] = []
        self.templates: list[str] = []
        self.numbers: dict[str, int] = {}  # of classes that are named
        self.groups: list[list[int]] = []  # the rows of each sample
        if root is not None:
            folder, _, file = root.rpartition("/")
            self.storage = Storage(folder or ("/" if root.startswith("/") else "."))
            self.rows = open_rows(self.storage, file, columns, separator)
            self.where = self.storage.where(file)
            self.fingerprint = self.rows.fingerprint + (" grouped" if group else "")
            if not len(self.rows):
                raise CorekitError(f"{self.where} has no rows under its column names")
            self._find_classes()
            self.groups = self._group() if group else []
        count = len(self.groups) or (len(self.rows) if root is not None else 0)
        self.samples = self.shard_sizes = sizes_of_shards(count)
        self.order_of_samples = permutation(count)

    def _group(self) -> list[list[int]]:
        """The rows of each picture, in the order of their first rows."""
        groups: dict[str, list[int]] = {}
        for number, path in enumerate(self.rows.column("image")):
            groups.setdefault(path or f"row {number}", []).append(number)
        return [*groups.values()]

    def _find_classes(self) -> None:
        """Class names and templates beside the table, and numbers of classes that have names."""
        folder = self.storage.root
        self.class_names = read_lines(folder, "classnames.txt")
        self.templates = read_lines(folder, "zeroshot_classification_templates.txt")
        labels = [field for field, entry in self.decoders.items() if isinstance(entry, Label)]
        names = {name for field in labels for name in self.rows.column(field) if name}
        if all(NUMBER.fullmatch(name) for name in names):
            return
        self.class_names = self.class_names or sorted(names)
        unknown = sorted(names - {*self.class_names})
        if unknown:
            raise CorekitError(f"{self.where} has the class '{unknown[0]}', which classnames.txt "
                               "has not")
        self.numbers = {name: number for number, name in enumerate(self.class_names)}

    def read(self, shard: int, first: int, count: int) -> list[RawSample]:
        """The cells of neighbouring samples, and the files of their pictures."""
        begin = shard * SHARD + first
        numbers = self.order_of_samples[begin:begin + count].tolist()
        return [self._read_sample(self.groups[number] if self.groups else [number])
                for number in numbers]

    read_samples = read  # as the index of shards calls it

    def _read_sample(self, numbers: list[int]) -> RawSample:
        key = f"row {numbers[0] + 1}"
        where, members = f"{self.where}: {key}", dict[str, bytes]()
        try:
            cells = self._cells(numbers)
            if isinstance(path := cells.get("image"), str):
                key = path.encode("utf-8", "backslashreplace").decode()
            for field, cell in cells.items():
                members[self.extensions[field][0]] = self._content(field, cell)
        except BadSampleError as error:
            return RawSample(where, key, {}, (error.kind, error.message))
        return RawSample(where, key, members)

    def _content(self, field: str, cell: Cell) -> bytes:
        """What a shard's member of the field would hold."""
        if isinstance(cell, bytes):
            return cell
        entry = self.decoders[field]
        if entry.geometry in ("image", "mask"):
            return self._read_file(cell)
        if isinstance(entry, Label):
            cell = str(self.numbers[cell]) if cell in self.numbers else cell.removesuffix(".0")
        return cell.encode("utf-8", "surrogateescape")

    def _cells(self, numbers: list[int]) -> dict[str, Cell]:
        """The cells of a sample by their fields; of several rows, a caption a line."""
        rows = [self.rows.row(number) for number in numbers]
        texts = [field for field, entry in self.decoders.items() if isinstance(entry, Text)]
        if len(rows) == 1:
            return rows[0]
        lines = {field: [" ".join(str(row[field]).split()) for row in rows if field in row]
                 for field in texts}
        return {**rows[0], **{field: "\n".join(each) for field, each in lines.items() if each}}

    def _read_file(self, path: str) -> bytes:
        """The bytes of a file that a row names; a BadSampleError where there is none."""
        storage, name = self.storage, path.removeprefix(f"{self.storage.url}/")
        if storage.is_local and "://" not in path:
            place = os.path.join(storage.url, os.path.expanduser(path))
            storage, name = Storage("/"), place.lstrip("/") if _is_there(place) else ""
        elif leaves_folder(name) or "://" in name:
            raise BadSampleError("path", f"{path} lies outside {storage.root}: fetch it first, as "
                                 "img2dataset does")
        content = storage.read_if_there(name) if name else None
        if content is None:
            raise BadSampleError("missing_file", "there is no such file")
        return content

    def key_of(self, handle: RawSample) -> str:
        """The key of a sample that was read."""
        return handle.key

    def decode(self, handle: RawSample) -> Sample:
        """The fields of one sample, decoded by their canonical names."""
        return decode_sample(handle, self.extensions, self.decoders)


def _is_there(path: str) -> bool:
    """Whether a path leads to a regular file; errors that may pass are for who reads it."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as error:
        return error.errno not in (errno.ENAMETOOLONG, errno.ELOOP)
