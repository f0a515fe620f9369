"""The fields of a sample, decoded by name from members of a tar file or files side by side."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from corekit.data.datasets.base import BadSampleError, Sample
from corekit.data.fields import Field, Text, find_field
from corekit.errors import CorekitError
from corekit.files import leaves_folder

BLOCK = tarfile.BLOCKSIZE
PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)  # types of headers that a file's bytes follow
MOST_BYTES = 1 << 30  # of a sample; more is a header's claim, and would not fit into memory
# what broken headers raise in tarfile
BROKEN = (tarfile.TarError, EOFError, ValueError, OverflowError, LookupError, RecursionError)


@dataclass(frozen=True)
class RawSample:
    """The members of one sample as they were stored: extension -> bytes.

    ``bad`` is (kind, message) where the members themselves cannot be had.
    """

    where: str
    key: str
    members: Mapping[str, bytes]
    bad: tuple[str, str] | None = None

    def member(self, extensions: Sequence[str], field: Field) -> bytes | None:
        """The first there is of members with these extensions, or values inside ``json:NAME``."""
        return next((content for each in extensions
                     if (content := member_of(self.members, each, field)) is not None), None)

    def members_of(self, extensions: Sequence[str]) -> list[bytes]:
        """The member with the first there is of these extensions, or all numbered ones in order."""
        alone = [each for each in extensions if each in self.members]
        numbered = [(int(number), name) for name in self.members
                    for number, _, extension in [name.partition(".")]
                    if extension in extensions and number.isdecimal() and len(number) < 10]
        return [self.members[name] for name in alone[:1] or [name for _, name in sorted(numbered)]]


def member_key(name: str) -> tuple[str, str]:
    """WebDataset's split of a member's name at the first dot of the file name: key and field."""
    folder, _, file = name.rpartition("/")
    stem, _, extension = file.partition(".")
    return (f"{folder}/{stem}" if folder else stem), extension.lower()


def is_left_out(name: str) -> bool:
    """Whether webdataset leaves a member out: hidden, as macOS writes ``._`` files, or without an
    extension.
    """
    file = name.rpartition("/")[2]
    return file.startswith(".") or "." not in file


def parse_sample(shard: str, position: int, content: bytes, length: int) -> RawSample:
    """The members of one sample from its stretch of a tar file, which is ``length`` bytes long.

    Bad are: ``too_large`` (more than ``MOST_BYTES``, as its headers claim), ``truncated`` (the file
    ends or breaks inside the sample), ``path`` (a name that is absolute or climbs out of its
    folder), ``encoding`` (a name that is not UTF-8) and ``duplicate`` (two members with one name).
    """
    unnamed = f"sample {position}"
    if length > MOST_BYTES:
        return RawSample(shard, unnamed, {}, ("too_large", f"its headers claim {length:,} bytes"))
    if len(content) < length or not length:
        return RawSample(shard, unnamed, {}, ("truncated", "the file ends before its members do"))
    try:
        files = [member for member in tar_members(content) if not is_left_out(member[0])]
    except (*BROKEN, OSError) as error:
        return RawSample(shard, unnamed, {}, ("truncated", f"its members cannot be read ({error})"))
    if not files:
        return RawSample(shard, unnamed, {}, ("truncated", "no member is left of it"))
    key = member_key(files[0][0])[0]
    members: dict[str, bytes] = {}
    for name, data in files:
        extension = member_key(name)[1]
        problem = None
        if leaves_folder(name):
            problem = "path", f"the name of a member leaves its folder: {name!r}"
        elif name.encode("utf-8", "replace").decode() != name:  # surrogates: it was not UTF-8
            problem = "encoding", "the name of a member is not UTF-8"
        elif extension in members:
            problem = "duplicate", f"two members are called {extension}"
        if problem is not None:
            printable = key.encode("utf-8", "backslashreplace").decode()
            return RawSample(shard, printable, {}, problem)
        members[extension] = data
    return RawSample(shard, key, members)


def tar_members(content: bytes) -> list[tuple[str, bytes]]:
    """(name, data) of every regular file in a stretch of a tar file.

    Python's ``tarfile`` reads the headers. Walking plain ones here takes a fifth of the time;
    whatever else there is (long names, sparse files) goes to ``tarfile`` as a whole.

    Raises:
        tarfile.TarError, EOFError: a header is broken, or data are missing.
    """
    members = []
    offset = 0
    while offset < len(content):
        first = offset + BLOCK
        block = content[offset:first]
        if not block.strip(b"\0"):  # the end, behind which another tar file may follow
            break
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        last = first + header.size
        if header.size < 0 or last > len(content):
            raise EOFError("the file ends before its members do")
        if header.type in PLAIN:
            members.append((header.name, content[first:last]))
        elif header.type != tarfile.XHDTYPE or any(word in content[first:last]
                                                   for word in (b"path=", b"size=", b"GNU.")):
            return _tarfile_members(content)
        offset = last + -last % BLOCK
    return members


def _tarfile_members(content: bytes) -> list[tuple[str, bytes]]:
    members = []
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:", encoding="utf-8",
                      errors="surrogateescape") as archive:
        for member in archive:
            if member.size > len(content):  # a sparse file may claim any size
                raise EOFError("a member is larger than the file it is in")
            # no links: they lead elsewhere
            file = archive.extractfile(member) if member.isreg() else None
            if file is not None:
                data = file.read()
                if len(data) < member.size:
                    raise EOFError("the file ends before its members do")
                members.append((member.name, data))
    return members


def split_extensions(fields: Mapping[str, str]) -> dict[str, list[str]]:
    """field -> the extensions that may hold it, from ``jpg;png``.

    Raises:
        CorekitError: a caption would be a whole JSON object.
    """
    stored = {field: [_as_stored(each) for each in extensions.split(";")]
              for field, extensions in fields.items()}
    for field, extensions in stored.items():
        if {"json", "json:"} & {*extensions} and isinstance(find_field(field), Text):
            raise CorekitError(f"fields.{field}=json would train on the JSON itself: name the key "
                               f"that holds the caption, as in fields.{field}=json:caption")
    return stored


def _as_stored(typed: str) -> str:
    """``.JPG`` as ``jpg``: extensions of members are in lower case."""
    extension, colon, key = typed.strip().partition(":")
    return extension.lower().removeprefix(".") + colon + key


def default_fields(*names: str) -> dict[str, str]:
    """field -> the extensions that hold it by default."""
    return {name: ";".join(find_field(name).extensions) for name in names}


def member_of(members: Mapping[str, bytes], stored: str, field: Field) -> bytes | None:
    """The content of a field that is stored as an extension, or as ``json:NAME`` inside a member.

    A caption in JSON must be a string: of a list or a number nobody knows what it is to be.

    Args:
        members: extension -> bytes.
        stored: an extension, or the extension of a JSON object, a colon, and a key of the object.
        field: what it is to be.
    """
    extension, _, key = stored.partition(":")
    content = members.get(extension)
    if content is None or not key:
        return content
    try:
        value = json.loads(content).get(key)
    except (ValueError, AttributeError, RecursionError):  # no JSON, no object, or too deep
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return None if value is None or isinstance(field, Text) else json.dumps(value).encode()


def decode_sample(raw: RawSample, extensions: Mapping[str, Sequence[str]],
                  fields: Mapping[str, Field]) -> Sample:
    """The fields of one sample by their canonical names; the first extension there is counts.

    Raises:
        BadSampleError: the members are bad, one is missing, or one is not what its field promises.
    """
    where = f"{raw.where}: {raw.key}"
    if raw.bad is not None:
        raise BadSampleError(raw.bad[0], f"{where}: {raw.bad[1]}")
    sample: Sample = {"key": raw.key}
    for name, field in fields.items():
        if field.several:
            contents = raw.members_of(extensions[name])
            if contents or not raw.members_of(field.extensions):
                sample[name] = [field.decode(content, where) for content in contents]
                continue
        content = raw.member(extensions[name], field)
        if content is None:
            raise BadSampleError("missing_field",
                                 f"{where}: no {' or '.join(extensions[name])} for {name}; it has "
                                 f"{', '.join(raw.members) or 'nothing'}")
        sample[name] = field.decode(content, where)
    return sample
