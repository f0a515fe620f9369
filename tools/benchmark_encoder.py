"""Images a second of an AIMv2 encoder against timm's, with the same weights.

    python tools/benchmark_encoder.py [--size large] [--pixels 224] [--batch-sizes 1 8]

Theirs is timm's ``aimv2_{size}_patch14_{pixels}``, ``forward_features``; ours the tokens of
``aimv2_{size}_{pixels}``; both without gradient, in turns in one process. Weights are random;
timm's are ours, converted, so the largest difference of the tokens is printed too. Exits with 0
where ours is at least ``--limit`` times as fast at every batch size.
"""

import sys
from collections.abc import Callable

import timing
import timm
import torch
from torch import Tensor, nn

import corekit
from corekit import registry


def main() -> int:
    """The command."""
    parser = timing.options(__doc__, limit=1.0)
    parser.add_argument("--size", choices=["large", "huge", "1b", "3b"], default="large")
    parser.add_argument("--pixels", type=int, choices=[224, 336, 448], default=224)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--depth-divisor", type=int, default=1,
                        help="divides the blocks of both, where time is short")
    args = parser.parse_args()
    torch.manual_seed(0)
    name = f"aimv2_{args.size}_{args.pixels}"
    ours: nn.Module = corekit.create_model(name, depth_divisor=args.depth_divisor).eval()
    depth = 24 // args.depth_divisor
    theirs: nn.Module = timm.create_model(f"aimv2_{args.size}_patch14_{args.pixels}",
                                          num_classes=0, depth=depth).eval()
    converter = registry.build("converter", "aim")
    theirs.load_state_dict(converter.save(ours.state_dict(), name, "timm"))
    ours, theirs = ours.to(args.device), theirs.to(args.device)
    encoders: dict[str, Callable[[Tensor], Tensor]] = {
        "ours": lambda image: ours(image)["tokens"],
        "theirs": lambda image: theirs.forward_features(image)}  # type: ignore[operator]
    print(f"images/s of {name}, {depth} blocks: ours, timm's; {timing.conditions(args)}")
    reached = True
    for batch in args.batch_sizes:
        image = torch.randn(batch, 3, args.pixels, args.pixels, device=args.device)
        sides = {name: timing.call(tokens_of, image, args, torch.no_grad)
                 for name, tokens_of in encoders.items()}
        times = timing.in_turns(sides, args)
        ratio = times.ratio("theirs", "ours")
        apart = float((sides["ours"]().float() - sides["theirs"]().float()).abs().max())
        print(f"  batch {batch:<3} {times.rates(batch)}: {ratio}; largest difference of the tokens "
              f"{apart:.1e}", flush=True)
        reached = reached and ratio.median >= args.limit
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
