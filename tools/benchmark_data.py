"""Images a second from JPEG shards: corekit's reading against open_clip's own pipeline.

    OMP_NUM_THREADS=1 python tools/benchmark_data.py

One worker process of each reads the same shards of 640 x 480 JPEGs (quality 90, made here: smooth
shapes under noise of every size) into batches of 224 x 224 crops, bicubic, with CLIP's mean and
standard deviation, and tokenized captions. open_clip's pipeline has the stages of
open_clip_train/data.py (shuffles, decode("pilrgb"), its training transform and tokenizer), and its
worker normalises pixels. Corekit's are normalised where the batch is used, here in the timed loop.
"""

import io
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timing
import torch
import webdataset as wds
from PIL import Image
from torch import Tensor

from corekit.recipes.schema import CLIP_MEAN, CLIP_STD

SIZE, STREAMS = 224, 32


def main() -> None:
    parser = timing.parser(__doc__, samples=3000, rounds=7, batch_size=64)
    parser.add_argument("--batches", type=int, default=16, help="timed in each round")
    parser.add_argument("--root", help="a folder of shards with jpg and txt; default: made in a "
                        "temporary folder")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = args.root or temporary
        if not args.root:
            write_shards(Path(temporary), args.samples)
        for scale in ((0.9, 1.0), (0.08, 1.0)):
            compare(root, scale, args.batches, args.rounds, args.batch_size)


def compare(root: str, scale: tuple[float, float], batches: int, rounds: int, size: int) -> None:
    """Print what both reach at one crop scale."""
    contenders: dict[str, Callable[[str, tuple[float, float], int], Iterator[Tensor]]] = {
        "corekit": corekit_images,
        "open_clip": open_clip_images}

    def seconds_of_batch(start: Callable[..., Iterator[Tensor]]) -> float:
        images = start(root, scale, size)
        for _ in range(3):  # until what was prefetched while workers started is used up
            next(images)

        def read() -> None:
            assert next(images).shape == (size, 3, SIZE, SIZE)

        return timing.seconds_of(read, calls=batches)

    sides = {name: partial(seconds_of_batch, start) for name, start in contenders.items()}
    times = timing.take_turns(sides, rounds)
    print(f"crop scale {scale}, {rounds} rounds of {batches * size} images, one worker")
    for name in times:
        ratio = times.ratio("open_clip", name)
        print(f"  {name:<26}{size / times.median(name):7.0f} images/s   {ratio.median:.2f} x "
              f"open_clip ({min(ratio.values):.2f} to {max(ratio.values):.2f})")


def corekit_images(root: str, scale: tuple[float, float], size: int) -> Iterator[Tensor]:
    """float32 [size, 3, 224, 224], normalised."""
    from corekit.data.loading.batch_shape import FixedSize
    from corekit.data.loading.loader import Streams, step_batches
    from corekit.data.loading.shuffled_order import ShuffledOrder
    from corekit.data.shards.webdataset import WebDataset
    from corekit.data.tokenizers.clip_bpe import ClipTokenizer
    from corekit.data.transforms.geometric import RandomResizedCrop
    from corekit.data.transforms.preprocess import Preprocess

    source = WebDataset(root)
    preprocess = Preprocess(SIZE, "bicubic", CLIP_MEAN, CLIP_STD)
    transform = RandomResizedCrop(preprocess, scale)
    tokenizer: Any = ClipTokenizer()
    order = ShuffledOrder(source.shard_sizes, STREAMS, 16, 0)
    shape = FixedSize(size, STREAMS)
    streams = Streams(source, order, shape, range(STREAMS), 0, transform, tokenizer)
    for part in step_batches(streams, 0, 1_000_000, 1):
        yield preprocess.normalize(part.batch["image"])


def open_clip_images(root: str, scale: tuple[float, float], size: int) -> Iterator[Tensor]:
    """float32 [size, 3, 224, 224], in the order of stages of open_clip_train/data.py."""
    from open_clip import get_tokenizer
    from open_clip.transform import AugmentationCfg, image_transform

    transform = image_transform(SIZE, is_train=True, mean=CLIP_MEAN, std=CLIP_STD,
                                aug_cfg=AugmentationCfg(scale=scale))
    tokenizer = get_tokenizer("ViT-B-32")
    shards = sorted(map(str, Path(root).glob("**/*.tar")))
    shuffle = wds.shuffle(bufsize=100, initial=100)  # 5,000 and 1,000 there; small: none read ahead
    pipeline = wds.DataPipeline(
        wds.SimpleShardList(shards * 100), wds.detshuffle(2000, 500), wds.split_by_node,
        wds.split_by_worker, wds.tarfile_to_samples(), shuffle,
        wds.select(lambda sample: "txt" in sample and "jpg" in sample), wds.decode("pilrgb"),
        wds.rename(image="jpg;png;jpeg;webp", text="txt"),
        wds.map_dict(image=transform, text=lambda text: tokenizer(text)[0]),
        wds.to_tuple("image", "text"), wds.batched(size, partial=False))
    for images, _ in wds.WebLoader(pipeline, batch_size=None, shuffle=False, num_workers=1):
        yield images


def write_shards(root: Path, samples: int) -> None:
    with wds.ShardWriter(f"{root}/%05d.tar", maxcount=500, verbose=0) as shards:
        for sample in range(samples):
            shards.write({"__key__": f"{sample:08d}", "jpg": photo(sample),
                          "txt": f"a photo number {sample} of a thing"})


def photo(seed: int, width: int = 640, height: int = 480) -> bytes:
    """A JPEG of about 90 kB with the spectrum of a photo: amplitudes fall with frequency."""
    generator = np.random.default_rng(seed)
    total = np.full((height, width, 3), 120, np.float32)
    for size, amplitude in ((4, 60), (16, 35), (64, 18), (256, 9), (640, 5)):
        noise = generator.normal(0, amplitude, (max(2, size * 3 // 4), size, 3)).astype(np.float32)
        channels = [Image.fromarray(noise[..., channel]) for channel in range(3)]
        total += np.stack([np.asarray(channel.resize((width, height), Image.Resampling.BICUBIC))
                           for channel in channels], -1)
    buffer = io.BytesIO()
    Image.fromarray(total.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
