"""``corekit data openmoji``."""

from typing import Literal

from corekit.registry import register


@register("command", "openmoji")
def openmoji(out: str, samples: int = 20_000, seed: int = 0,
             split: Literal["train", "validation"] = "train", size: int = 256,
             objects: tuple[int, int] | None = None, workers: int = 2) -> None:
    """write drawn scenes with captions as WebDataset shards

    Args:
        out: the folder to write.
        samples: how many scenes.
        seed: of all draws.
        split: validation has one object a scene, and no seed in common with training.
        size: pixels of the square scenes.
        objects: least and most objects of a scene; 1 to 3, and 1 for validation.
        workers: processes.
    """
    from pathlib import Path

    from corekit.data.datasets.openmoji.dataset import OpenMoji
    from corekit.data.shards.writer import write_shards

    least, most = objects or ((1, 1) if split == "validation" else (1, 3))
    source = OpenMoji(samples, seed, split, size=size, objects=(least, most))
    write_shards(source, Path(out), workers=workers)
    print(f"{samples:,} scenes under {out}; train on them with data.root={out}")
