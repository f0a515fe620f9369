"""What annotation files say: questions about pictures, or captions of them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from corekit.data.storage import Storage
from corekit.errors import CorekitError

Item = Mapping[str, Any]  # an object of a JSON file


class Question(NamedTuple):
    """A question about pictures; of captions alone the question is empty.

    Attributes:
        pictures: names of files.
        question: as it stands in the file.
        answers: right ones, or all captions; none where the split keeps them secret.
        question_id: as results are handed in, or that of the picture.
        category: '' where there is none.
    """

    pictures: tuple[str, ...]
    question: str
    answers: tuple[str, ...]
    question_id: str | int
    category: str = ""


class Questions(NamedTuple):
    """The questions of a benchmark, and the folders in which its pictures may lie."""

    questions: list[Question]
    folders: Sequence[str] = ("", "images/")  # each with a / at its end


class AnnotationFiles:
    """The annotation files of a folder, as a benchmark's form reads them.

    Attributes:
        where: the file that was read last, for messages.
        digest: of the bytes of all that were read.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage, self.where = storage, storage.root
        self.digest = hashlib.sha256()

    def read(self, *names: str) -> bytes:
        """The first file that is there; a CorekitError where there is none."""
        content = self.read_if_there(*names)
        if content is None:
            raise CorekitError(f"{self.storage.where(names[0])} does not exist: data.root, or the "
                               "data set's own root, is the folder of the annotations and pictures")
        return content

    def read_if_there(self, *names: str) -> bytes | None:
        """The first file that is there, or None."""
        for name in names:
            content = self.storage.read_if_there(name)
            if content is not None:
                self.where = self.storage.where(name)
                self.digest.update(content)
                return content
        return None

    def json(self, *names: str) -> Any:
        """What is in the first file that is there, as JSON."""
        return json.loads(self.read(*names))
