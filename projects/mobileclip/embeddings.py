"""The teachers' embeddings of one sample as an ``.npz`` or a ``.pth.gz`` member.

DataCompDR keeps float32 rows in ``.npz`` and bfloat16 ones in ``.pth.gz``. Ours in one byte a
number are an ``.npz`` too: int8 rows, and their factors, float32 [n], in ``NAME_scale``.
"""

import gzip
import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from corekit.data.datasets.base import BadSampleError

Precision = Literal["fp32", "bf16", "int8"]

# unpacked; 30 augmentations and 6 captions of 1,536 float32 numbers are 221 kB
MOST_BYTES = 1 << 26
_GZIP = 31  # zlib's number for gzip's format


def decode_embeddings(members: Mapping[str, bytes], where: str) -> dict[str, Tensor]:
    """Name -> rows [n, width] in the dtype they are stored in, int8 as float32.

    ``.npz`` is preferred where both members are there.

    Raises:
        BadSampleError: ``missing_field``: neither member is there; ``bomb``: it unpacks to more
            than ``MOST_BYTES``; ``embeddings``: it is not what its name says.
    """
    extension = next((name for name in ("npz", "pth.gz") if name in members), None)
    if extension is None:
        raise BadSampleError("missing_field",
                             f"{where}: no npz or pth.gz for the teachers' embeddings")
    where = f"{where}: its {extension}"
    try:
        content = members[extension]
        arrays = _read_npz(content) if extension == "npz" else _read_torch(_gunzip(content))
        rows = {name: _widened(values, arrays.get(f"{name}_scale"))
                for name, values in arrays.items()}
    except MemoryError:
        raise
    except _BombError:
        raise BadSampleError("bomb", f"{where} unpacks to more than {MOST_BYTES} bytes") from None
    except Exception as error:  # bad bytes raise anything in zipfile and torch
        reason = str(error).split("\n")[0][:200]
        raise BadSampleError("embeddings", f"{where} cannot be read: {reason}") from None
    return {name: values for name, values in rows.items()
            if values.ndim == 2 and values.is_floating_point()}


def encode_embeddings(rows: Mapping[str, Tensor], precision: Precision) -> tuple[str, bytes]:
    """(extension, bytes) of rows [n, width] by name; the same bytes every time."""
    if precision == "bf16":
        buffer = io.BytesIO()
        torch.save({name: values.bfloat16().contiguous() for name, values in rows.items()}, buffer)
        return "pth.gz", gzip.compress(buffer.getvalue(), 6, mtime=0)
    arrays: dict[str, Tensor] = {}
    for name, values in rows.items():
        arrays[name] = values.float()
        if precision == "int8":
            scale = (values.float().abs().amax(1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
            arrays |= {name: (values.float() / scale[:, None]).round().to(torch.int8),
                       f"{name}_scale": scale}
    buffer = io.BytesIO()
    stored = {name: values.numpy() for name, values in arrays.items()}
    np.savez(buffer, **stored)  # type: ignore[arg-type]
    return "npz", buffer.getvalue()


def _widened(rows: Tensor, scale: Tensor | None) -> Tensor:
    if rows.dtype != torch.int8:
        return rows
    if (rows.ndim != 2 or scale is None or scale.shape != rows.shape[:1]
            or not scale.is_floating_point()):
        raise ValueError("int8 rows without a scale for each")
    return rows * scale.float()[:, None]


class _BombError(Exception):
    """More bytes than there is any use for."""


def _read_npz(content: bytes) -> dict[str, Tensor]:
    """The arrays; NumPy's reader would allocate what a header promises, there or not."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        _check_size(archive)
        return {name.removesuffix(".npy"): _read_array(bytearray(archive.read(name)))
                for name in archive.namelist()}


def _read_array(content: bytearray) -> Tensor:
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read_header = (np.lib.format.read_array_header_1_0 if version == (1, 0)
                   else np.lib.format.read_array_header_2_0)
    shape, by_columns, dtype = read_header(file)
    values = np.frombuffer(content, dtype, offset=file.tell())
    return torch.from_numpy(values.reshape(shape, order="F" if by_columns else "C"))


def _gunzip(content: bytes) -> bytes:
    unpacking = zlib.decompressobj(_GZIP)
    unpacked = unpacking.decompress(content, MOST_BYTES + 1)
    if len(unpacked) > MOST_BYTES:
        raise _BombError
    if not unpacking.eof:
        raise EOFError("its end is missing")
    return unpacked


def _read_torch(content: bytes) -> dict[str, Tensor]:
    # torch's older format is no zip file, and is refused
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        _check_size(archive)
    loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(loaded, dict):
        raise ValueError(f"a {type(loaded).__name__}, not a dict of tensors")
    return {str(name): value for name, value in loaded.items()
            if isinstance(value, Tensor) and value.layout == torch.strided}


def _check_size(archive: zipfile.ZipFile) -> None:
    if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
        raise _BombError
