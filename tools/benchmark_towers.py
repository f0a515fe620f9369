"""Images a second of our image towers, fused, against open_clip's and timm's, fused too.

    python tools/benchmark_towers.py [--models mobileclip_s0 aimv2_large_224] [--batch-sizes 1 64]

Ours is called as our README has it: ``corekit.load`` of a model folder, ``corekit.reparameterize``,
``encode_image`` without gradient, an image batch as ``torch.stack`` makes it. Theirs is called as
open_clip's documentation has it (``create_model``, timm's ``reparameterize_model``,
``encode_image`` without gradient), and once more in its best setting: channels_last and
``inference_mode``. S0, which open_clip cannot build, is timm's ``fastvit_mci0`` on their side, and
AIMv2's encoders are timm's ``aimv2_*_patch14_*``. Exits with 0 where ours is at least ``--limit``
times as fast as documented and ``--limit-best`` times as fast as at its best, in every case.
"""

import copy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import open_clip
import timing
import timm
import torch
from timm.utils.model import reparameterize_model
from torch import Tensor, nn

import corekit
from corekit.checkpoint.model_folder import save_model_folder
from corekit.data.transforms.preprocess import Preprocess

SIZES = {"mobileclip_s0": 256, "mobileclip_s1": 256, "mobileclip_s2": 256, "mobileclip_b": 224}


def main() -> int:
    parser = timing.options(__doc__, limit=1.2, limit_best=1.0)
    parser.add_argument("--models", nargs="+", default=list(SIZES))
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 64])
    args = parser.parse_args()
    print(f"images/s: ours, theirs as documented, theirs at its best; {timing.conditions(args)}")
    reached = True
    for name in args.models:
        torch.manual_seed(0)
        ours, reference = our_encoder(name, args.device), their_encoder(name).to(args.device)
        best = copy.deepcopy(reference).to(memory_format=torch.channels_last)
        for batch in args.batch_sizes:
            size = size_of(name)
            image = torch.rand(batch, 3, size, size, device=args.device)
            last = image.to(memory_format=torch.channels_last)
            sides = {"ours": timing.call(ours, image, args, torch.no_grad),
                     "theirs": timing.call(encode_of(reference), image, args, torch.no_grad),
                     "best": timing.call(encode_of(best), last, args)}
            times = timing.in_turns(sides, args)
            documented, at_best = times.ratio("theirs", "ours"), times.ratio("best", "ours")
            print(f"  {name} batch {batch:<3} {times.rates(batch, 1)}: {documented} as "
                  f"documented, {at_best} at its best", flush=True)
            reached = (reached and documented.median >= args.limit
                       and at_best.median >= args.limit_best)
    return 0 if reached else 1


def our_encoder(name: str, device: str) -> Callable[[Tensor], Tensor]:
    """The fused model of a model folder."""
    model = corekit.create_model(name)
    with tempfile.TemporaryDirectory() as folder:
        recipe = {"model": {"name": name}, "seed": 0, "data": {"tokenizer": None}}
        save_model_folder(Path(folder), model.state_dict(), recipe,
                          Preprocess(size_of(name), "bilinear", (0, 0, 0), (1, 1, 1)))
        loaded, _, _ = corekit.load(folder)
    return encode_of(corekit.reparameterize(loaded).to(device))


def size_of(name: str) -> int:
    return SIZES.get(name) or int(name[-3:])


def their_encoder(name: str) -> nn.Module:
    family, size, *pixels = name.split("_")
    if family == "aimv2":
        model = timm.create_model(f"aimv2_{size}_patch14_{pixels[0]}", num_classes=0)
    elif size == "s0":
        model = timm.create_model("fastvit_mci0", num_classes=512)
    else:
        model = open_clip.create_model(f"MobileCLIP-{size.upper()}")
    fused: nn.Module = reparameterize_model(model.eval())
    return fused


def encode_of(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """open_clip's ``encode_image``, or timm's call."""
    encode: Callable[[Tensor], Tensor] = getattr(model, "encode_image", model)
    return encode


if __name__ == "__main__":
    sys.exit(main())
