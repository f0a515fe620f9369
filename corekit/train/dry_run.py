"""``dry_run=true``: everything is checked and counted, nothing trained or written."""

import logging
from dataclasses import replace

from corekit.checkpoint.llava.layout import remarks
from corekit.data.datasets.base import Source
from corekit.recipes.schema import RunConfig
from corekit.train.assemble import Parts, assemble
from corekit.train.cost import Cost, cost
from corekit.train.verify import verify

log = logging.getLogger(__name__)


def dry_run(config: RunConfig, source: Source) -> None:
    """Print what the recipe would train, what a step costs and what the run would see."""
    engine = config.engine
    micro_batch = engine.micro_batch or engine.batch_size
    parts = assemble(replace(config, engine=replace(engine, micro_batch=micro_batch)), source)
    defaults = verify(parts)
    for name, text in _rows(parts, cost(parts)).items():
        log.info(f"{name:<11}{text}")
    for line in defaults:
        log.info(f"{'wiring':<11}{line}")
    for line in remarks(parts.model, parts.preprocess):
        log.info(f"{'export':<11}{line}")
    log.info("The recipe is sound: leave out dry_run=true to train.")


def _rows(parts: Parts, counted: Cost) -> dict[str, str]:
    config, engine, sizes = parts.config, parts.config.engine, [size for size, _ in parts.sizes]
    samples_drawn = config.data.streams * parts.sampler.draws(engine.steps).start
    samples = int(parts.source.shard_sizes.sum())
    passes = f", {samples_drawn / samples:.2f} passes over {samples:,} samples" if samples else ""
    of_sizes = (f" at {parts.preprocess.size} pixels; {len(set(sizes))} sizes from {min(sizes)} to "
                f"{max(sizes)}, with about as many pixels a step" if sizes else "")
    return {
        "model": f"{config.model.name}, {counted.parameters:,} parameters ({counted.trained:,} "
                 "trained)",
        "arithmetic": f"{counted.forward_flops / 1e9:.3f} GFLOPs a sample forward, "
                      f"{3 * counted.forward_flops / 1e9:.3f} forward and backward",
        "memory": f"{counted.weights / 2**30:.2f} GiB for weights, gradients and optimizer; "
                  f"{counted.activations / 2**30:.2f} GiB of activations for a micro-batch of "
                  f"{engine.micro_batch} ({engine.precision}, estimated)",
        "step": f"{engine.batch_size} samples in {parts.micro_batches} micro-batches of "
                f"{engine.micro_batch}{of_sizes}",
        "run": f"{engine.steps:,} steps, {samples_drawn:,} samples seen{passes}",
        "directory": f"{config.run_dir} (nothing is written by a dry run)",
    }
