"""``dry_run=true``: everything checked and counted on the meta device, nothing trained, nothing
written.
"""

import logging
from typing import Any

from corekit.data.datasets.base import Source
from corekit.train.assemble import build_sampler, build_tokenizer, micro_batches
from corekit.train.cost import measure
from corekit.train.verify import check_wiring

log = logging.getLogger(__name__)


def dry_run(recipe: dict[str, Any], source: Source) -> None:
    """Print what the recipe would train, what a step costs and what the run would see."""
    engine = recipe["engine"]
    engine["micro_batch"] = engine["micro_batch"] or engine["batch_size"]
    count = micro_batches(recipe, 1)
    defaults = check_wiring(recipe, source, build_tokenizer(recipe))
    cost = measure(recipe, source)
    sampler = build_sampler(recipe)
    seen = recipe["data"]["streams"] * sampler.draws(engine["steps"]).start
    sizes = {size for size, _ in getattr(sampler, "table", ())}
    samples = int(source.shard_sizes.sum())
    passes = f", {seen / samples:.2f} passes over {samples:,} samples" if samples else ""
    rows = {
        "model": f"{recipe['model']['name']}, {cost.parameters:,} parameters ({cost.trained:,} "
                 f"trained)",
        "arithmetic": f"{cost.forward_flops / 1e9:.3f} GFLOPs a sample forward, "
                      f"{3 * cost.forward_flops / 1e9:.3f} forward and backward",
        "memory": f"{gigabytes(cost.weights)} for weights, gradients and optimizer; "
                  f"{gigabytes(cost.activations)} of "
                  f"activations for a micro-batch of {engine['micro_batch']} "
                  f"({engine['precision']}, estimated)",
        "step": f"{engine['batch_size']} samples in {count} micro-batches of "
                f"{engine['micro_batch']}"
                + (f" at {recipe['data']['preprocess']['size']} pixels; {len(sizes)} sizes from "
                   f"{min(sizes)} to {max(sizes)}, "
                   "with about as many pixels a step" if sizes else ""),
        "run": f"{engine['steps']:,} steps, {seen:,} samples seen{passes}",
        "directory": f"{recipe['run_dir']} (nothing is written by a dry run)",
    }
    for name, text in rows.items():
        log.info(f"{name:<11}{text}")
    for line in defaults:
        log.info(f"{'wiring':<11}{line}")
    log.info("The recipe is sound: leave out dry_run=true to train.")


def gigabytes(count: float) -> str:
    """Bytes as people read them."""
    return f"{count / 2**30:.2f} GiB"
