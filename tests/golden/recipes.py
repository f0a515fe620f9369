"""The six tiny recipes, as words after ``corekit-train``: where a renamed key is renamed."""

STEPS = 50
TRAINED_BY = "aimv2_pretrain"  # two others start from it, or learn from it

PLAIN = (  # of every run here
    "data.streams=4", "data.window=4", "data.workers=0",
    "engine.device=cpu", "engine.precision=fp32", "engine.batch_size=8", "engine.micro_batch=4",
    "log.every_steps=1",
)
SMALL = (*PLAIN, f"engine.steps={STEPS}", "schedule.warmup_steps=5", "checkpoint.every_steps=null")
CLIP_WORDS = ("model.vocab_size=1024", "data.tokenizer.vocab_size=1024")
AIM = ("model.width_divisor=16", "model.depth_divisor=6", "data.preprocess.size=56")

RECIPES: dict[str, tuple[str, ...]] = {
    # CLIP's loss over micro-batches by GradCache; batch norm, stochastic depth, EMA, clipping.
    "contrastive": (
        "+recipe=mobileclip/quickstart", "~evaluators.zero_shot", *SMALL, *CLIP_WORDS,
        "data.preprocess.size=32", "model.drop_path_rate=0.1", "engine.ema_decay=0.9",
        "data.dataset.concepts=20",
    ),
    # Stored augmentations, captions and embeddings of two teachers; real and synthetic captions.
    "reinforced": (
        "+recipe=mobileclip/reinforced_quickstart", "~evaluators.zero_shot", *SMALL, *CLIP_WORDS,
        "data.root=scenes", "data.dataset.reinforcements=reinforcements",
        "model.name=clip_vit_b16", "+model.image_size=32", "+model.width_divisor=24",
        "+model.depth_divisor=6", "data.preprocess.size=32", "data.transform.stored_size=64",
        "loss.teacher_widths=[6,6]", "loss.contrastive_weight=0.25",
        "loss.distillation_weight=0.75", "optimizer.learning_rate=2e-4",
    ),
    # Sizes that change, RangeAugment, crops and flips, layers computed again, EMA of the weights.
    "catlip": (
        "+recipe=catlip/b", *SMALL, "data.root=scenes",
        "data.dataset={name:stored_labels,labels:labels,vocabulary:openmoji,size:10}",
        "~data.dataset.nouns", "~data.dataset.dataset",
        "model.model.num_classes=10", "model.model.image_size=48", "model.model.width_divisor=12",
        "model.model.depth_divisor=6", "data.preprocess.size=48", "sampler.smallest=32",
        "sampler.largest=64", "engine.ema_decay=0.9",
    ),
    # The next patch and the next word after random prefixes; a mixture; four micro-batches.
    "aimv2_pretrain": (
        "+recipe=aimv2/large", *SMALL, *CLIP_WORDS, *AIM, "data.root=scenes",
        "engine.micro_batch=2", "data.tokenizer.name=clip_bpe", "model.context_length=16",
        "loss.next_token.end_token=1023",
        *(f"data.dataset.sources.{name}.dataset.shards='*.tar'"
          for name in ("dfn2b", "coyo", "hqitp", "dfn2b_synthetic", "hqitp_synthetic")),
        *(f"data.dataset.sources.{name}.dataset.fields.synthetic_text=txt"
          for name in ("dfn2b_synthetic", "hqitp_synthetic")),
    ),
    # Text tuned to a locked encoder that starts from another run.
    "lit": (
        "+recipe=aimv2/lit", *SMALL, *CLIP_WORDS, *AIM, "data.root=scenes",
        "model.context_length=16", f"init.path={TRAINED_BY}",
        *(f"data.dataset.sources.{name}.dataset.shards='*.tar'"
          for name in ("dfn2b", "coyo", "hqitp")),
    ),
    # A sample loss on the tokens of a frozen teacher, which is another run.
    "distillation": (
        "+recipe=aimv2/distill", *SMALL, *AIM, "data.root=scenes", "model.teacher_width=64",
        f"frozen.teacher.path={TRAINED_BY}",
    ),
}

OLD_RUN = (  # trains to step 8 from the checkpoint of step 4 in old_run/
    "+recipe=mobileclip/pairs", *PLAIN, "data.root=shards", "run_dir=run",
    "model.name=mobileclip_b", "model.embed_dim=32", "model.image_size=32",
    "model.width_divisor=24", "model.depth_divisor=12", "model.context_length=12",
    "model.vocab_size=514", "data.tokenizer.context_length=12", "data.tokenizer.vocab_size=514",
    "data.preprocess.size=32", "engine.steps=8", "engine.ema_decay=0.5",
    "optimizer.learning_rate=1e-4", "schedule.warmup_steps=2",
    "checkpoint.every_steps=4",
    "evaluators={retrieval:{name:retrieval,every_steps:4,dataset:{name:webdataset,root:shards}}}",
)


def commands() -> list[list[str]]:
    """The command lines, each after those it needs; a run is named as its recipe."""
    return [["corekit-train", *words, f"run_dir={name}"] for name, words in RECIPES.items()]
