"""Resource files as Qt's rcc writes them, for tests."""

import struct
import zlib
from collections.abc import Mapping

Tree = dict[str, "Tree | bytes"]


def resource_file(files: Mapping[str, bytes], compressed: bool = False, version: int = 3) -> bytes:
    """A file with these paths: breadth first, as Qt lays out the tree."""
    root: Tree = {}
    for path, content in files.items():
        *folders, name = path.strip("/").split("/")
        place = root
        for folder in folders:
            place = place.setdefault(folder, {})  # type: ignore[assignment]
        place[name] = content
    data, names, nodes = b"", b"", list[bytes]()
    queue: list[tuple[str, Tree | bytes]] = [("", root)]
    placed = 1  # nodes that have a number
    for name, content in queue:
        offset, encoded = len(names), name.encode("utf-16-be")
        names += struct.pack(">HI", len(encoded) // 2, 0) + encoded
        if isinstance(content, dict):
            node = struct.pack(">IHII", offset, 2, len(content), placed)
            queue += content.items()
            placed += len(content)
        else:
            node = struct.pack(">IHHHI", offset, int(compressed), 0, 0, len(data))
            if compressed:
                content = struct.pack(">I", len(content)) + zlib.compress(content)
            data += struct.pack(">I", len(content)) + content
        nodes.append(node + (b"" if version == 1 else bytes(8)))
    header = 20 if version < 3 else 24
    starts = header, header + len(data), header + len(data) + len(names)
    head = b"qres" + struct.pack(">IIII", version, starts[2], starts[0], starts[1])
    return head + (b"" if version < 3 else bytes(4)) + data + names + b"".join(nodes)
