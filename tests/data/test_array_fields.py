"""Short rows of whole numbers in .npy members: read as numpy wrote them, and nothing else is."""

import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from corekit.data.datasets.base import BadSampleError
from corekit.data.fields import find_field
from corekit.data.loading.collate import collate, cut, join
from corekit.data.shards.webdataset import WebDataset
from corekit.data.shards.writer import write_shards
from corekit.errors import CorekitError

LOCATION_AND_YEAR = np.array([3, 2014], dtype=np.int64)


def npy(array, allow_pickle=False):
    content = io.BytesIO()
    np.save(content, array, allow_pickle=allow_pickle)
    return content.getvalue()


def claiming(header, length=None, version=b"\x01\x00"):
    size = 2 if version == b"\x01\x00" else 4
    length = len(header) if length is None else length
    return b"\x93NUMPY" + version + length.to_bytes(size, "little") + header


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", ">i4", "bool"])
def test_whole_numbers_of_any_width_are_read(dtype):
    value = find_field("metadata").decode(npy(np.array([1, 0, 1], dtype=dtype)), "s.tar: a")
    assert value.dtype == np.int64
    assert value.tolist() == [1, 0, 1]


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "float32"])
def test_classes_are_read_as_exporters_write_them(dtype):
    value = find_field("label_vector").decode(npy(np.array([0, 1, 1], dtype=dtype)), "s.tar: a")
    assert value.dtype == np.uint8
    assert value.tolist() == [0, 1, 1]


HUGE = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }\n"
BAD = {
    "floats": npy(np.array([1.0])), "a scalar": npy(np.array(3)), 
    "two rows": npy(np.eye(2, dtype=int)),
    "pickled objects": npy(np.array([{}], dtype=object), allow_pickle=True),
    "a longer number": npy(np.array([2**63], dtype=np.uint64)), "nothing": b"",
    "text": b"[1, 2, 3]",
    "cut short": npy(LOCATION_AND_YEAR)[:-3],
    "more than it claims": npy(LOCATION_AND_YEAR) + bytes(8),
    "a huge shape": claiming(HUGE), "a huge header": claiming(b"", 2**32 - 1, b"\x02\x00"),
    "a deep header": claiming(b"(" * 9000), "no header": b"\x93NUMPY\x01\x00",
    "a program": claiming(b"{'descr': __import__('os').system('true'), 'shape': (1,)}"),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_anything_else_is_a_bad_sample(content):
    with pytest.raises(BadSampleError, match="s.tar: a: metadata") as caught:
        find_field("metadata").decode(content, "s.tar: a")
    assert caught.value.kind == "metadata"
    assert len(caught.value.message) < 500


def test_classes_are_0_or_1():
    for value in ([0, 2], [0.5], [float("nan")], [-1]):
        with pytest.raises(BadSampleError, match="more than 0 and 1"):
            find_field("label_vector").decode(npy(np.array(value)), "s.tar: a")


def test_batches_hold_a_row_a_sample():
    fields = {"metadata": find_field("metadata")}
    samples = [{"key": str(number), "metadata": LOCATION_AND_YEAR + number} for number in range(4)]
    batch = collate(samples, fields, None)
    assert batch["metadata"].dtype == torch.int64
    assert batch["metadata"].shape == (4, 2)
    again = join([cut(batch, 0, 3, fields), cut(batch, 3, 4, fields)], fields)
    assert torch.equal(again["metadata"], batch["metadata"])
    with pytest.raises(CorekitError, match="must have as many"):
        collate([*samples, {"key": "5", "metadata": np.arange(3)}], fields, None)


class Wilds:
    """Two samples with a class and groups."""

    fields = ("image", "label", "metadata")
    shard_sizes = np.array([2])
    fingerprint = "wilds"

    def read(self, shard, first, count):
        return list(range(first, first + count))

    def decode(self, handle):
        return {"key": f"s{handle}", "image": Image.new("RGB", (8, 8)), "label": handle,
                "metadata": LOCATION_AND_YEAR + handle}


def test_wilds_layout_has_a_class_and_groups(tmp_path):
    write_shards(Wilds(), tmp_path)
    with tarfile.open(tmp_path / "000000.tar") as archive:
        assert archive.getnames()[:3] == ["s0.cls", "s0.jpg", "s0.npy"]
    read = WebDataset(str(tmp_path), fields={"image": "jpg", "label": "cls", "metadata": "npy"})
    samples = [read.decode(handle) for handle in read.read(0, 0, 2)]
    assert [sample["label"] for sample in samples] == [0, 1]
    assert [sample["metadata"].tolist() for sample in samples] == [[3, 2014], [4, 2015]]
