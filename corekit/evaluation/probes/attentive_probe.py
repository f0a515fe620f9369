"""Attentive probes: how well a learned query over the tokens of a frozen model classifies."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from corekit.data.datasets.base import Source, dataset_info
from corekit.data.datasets.subset import hold_out
from corekit.data.loading.batch_shape import FixedSize
from corekit.data.loading.loader import Streams, share, step_batches
from corekit.data.loading.shuffled_order import order_of
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel, Result
from corekit.evaluation.features import encode, encode_pixels, in_classes_of, labelled_features
from corekit.evaluation.metrics.accuracy import figures
from corekit.evaluation.probes.attentive_heads import Heads, TokenNorm
from corekit.evaluation.probes.grid import Grid
from corekit.evaluation.probes.probe import Probe, best, digest, shuffled
from corekit.linear_output import dense
from corekit.models.layers.pooling import AttentionPool
from corekit.registry import register

LEARNING_RATES = (5e-5, 1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3)
# stretches that augmented training data is read in; fewer where they do not divide the batch
STREAMS = 64


@register("evaluator", "attentive_probe")
@dataclass
class AttentiveProbe(Probe):
    """Attention pooling and a linear layer over a frozen model's tokens: top-1, top-5, recall.

    The protocol of AIMv2 (Fini et al., 2024, table A2; defaults are ImageNet-1k's) with the head of
    AIM (El-Nouby et al., 2024, 4.2): a batch norm of the tokens without parameters, a learned query
    with heads 128 wide, a linear layer. A head for each learning rate and weight decay is trained
    by AdamW with cross-entropy, all heads on the same tokens: the model runs once a step. Where the
    paper reports the best head, here the best on the validation samples is chosen; the record holds
    the whole ``grid``, the ``chosen`` point, and ``trunk_sha256`` of the model, which is the same
    before and after, or the evaluation fails.

    Without a ``transform`` tokens of the training samples' centres are made once and kept on every
    rank's device, 4 N D bytes for each image of N tokens: for small sets. With one, every step
    draws and augments its images and computes their tokens.

    The arguments that are not named here are as of ``linear_probe``.

    Args:
        transform: augmentation of the training images; None: their centres.
        num_classes: None: as many as ``train_dataset`` has names for.
        features: name of the model's output with the tokens, [B, N, D].
        final_learning_rate: of all heads, at the end of half a cosine.
        grad_clip: largest L2 norm of a head's gradient; None: any.
        batch_size: samples of a step of the heads, over all ranks.
        head_width: tokens are attended to by as many heads as this goes into their width.
        window: training samples that are read and shuffled together where they are augmented.
        seed: of the heads, the order of samples, the augmentation and the validation part.

    Raises:
        CorekitError: a data set without labels, or an argument out of range.
    """

    NAME = "attentive_probe"
    COUNTS = ("epochs", "batch_size", "head_width", "forward_batch_size", "window")

    features: str = "tokens"
    learning_rates: Sequence[float] = LEARNING_RATES
    weight_decays: Sequence[float] = (0.05, 0.1)
    transform: Callable[..., Tensor] | None = None
    num_classes: int | None = None
    final_learning_rate: float = 1e-5
    grad_clip: float | None = 3.0
    head_width: int = 128
    window: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        no_classes = self.num_classes is not None and self.num_classes < 1
        no_clip = self.grad_clip is not None and not self.grad_clip > 0
        if no_classes or no_clip or self.final_learning_rate < 0:
            raise CorekitError("evaluator 'attentive_probe' needs num_classes of 1 or more and "
                               "grad_clip above 0, where they are given, and a final_learning_rate "
                               "of 0 or more")

    def __call__(self, eval_model: EvalModel) -> Result:
        """Train the heads on tokens, choose one, and report it."""
        # augmentation seeds the generator that everybody draws from
        with torch.random.fork_rng(devices=[]):
            return self._probe(eval_model)

    def _probe(self, eval_model: EvalModel) -> Result:
        classes = self.num_classes or len(dataset_info(self.train_dataset).class_names)
        if not classes:
            raise CorekitError("evaluator 'attentive_probe' has to know how many classes there "
                               "are: set its num_classes, or give train_dataset a classnames.txt")
        trunk = digest(eval_model.model)
        train, validation = self.train_dataset, self.validation_dataset
        if validation is None:
            seed = self.seed_for("validation")
            train, validation = hold_out(train, self.validation_fraction, seed)
        heads = self._train(eval_model, train, classes)
        of_points = heads.scores(self._tokens(eval_model, validation, classes))
        point = best(of_points)
        # only now anything of the test samples
        hits = heads.hits(point, self._tokens(eval_model, self.dataset, classes))
        if digest(eval_model.model) != trunk:
            raise CorekitError("evaluator 'attentive_probe': the model is not the same after its "
                               "tokens were computed; it must not change its buffers in a "
                               "forward pass")
        return Result.on(self.dataset, int(hits[0].sum()), figures(hits), chosen=of_points[point],
                         grid=of_points, trunk_sha256=trunk)

    def _train(self, eval_model: EvalModel, train: Source, classes: int) -> Heads:
        batches = math.ceil(int(train.shard_sizes.sum()) / self.batch_size)
        heads: Heads | None = None
        steps = self._kept if self.transform is None else self._drawn
        for tokens, label, samples in steps(eval_model, train, batches):
            if heads is None:
                heads = self._start(eval_model, tokens.shape[2], classes, self.epochs * batches)
            heads.step(tokens, _checked(label, classes), samples)
        assert heads is not None, "there is a step at least"
        return heads

    def _start(self, eval_model: EvalModel, width: int, classes: int, steps: int) -> Heads:
        head = AttentionPool(width, classes, max(1, width // self.head_width))
        generator = torch.Generator().manual_seed(self.seed_for("weights"))
        nn.init.normal_(head.cls_token, std=0.02, generator=generator)
        for layer in (head.k, head.v, head.linear):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
        nn.init.zeros_(head.linear.bias)
        grid = Grid(head.to(eval_model.device), self.points, steps,
                    round(self.warmup_fraction * steps), self.final_learning_rate, self.grad_clip)
        return Heads(grid, TokenNorm(width, eval_model.device, eval_model.sum), eval_model.sum)

    def _kept(self, eval_model: EvalModel, train: Source,
              batches: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Tokens and labels of this rank's share of every step, computed once."""
        tokens, label = labelled_features(eval_model, train, self.forward_batch_size, self.features)
        _check_tokens(tokens)
        for epoch in range(self.epochs):
            order = shuffled(len(label), self.seed_for("order", epoch)).to(label.device)
            for rows in order.tensor_split(batches):
                own = rows[share(len(rows), eval_model.rank, eval_model.world)]
                yield tokens[own], label[own], len(rows)

    def _drawn(self, eval_model: EvalModel, train: Source,
               batches: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        """The same of augmented images, computed in every step."""
        samples = min(self.batch_size, int(train.shard_sizes.sum()))
        streams = math.gcd(samples, STREAMS)
        if eval_model.world > streams:
            raise CorekitError(f"evaluator 'attentive_probe': {eval_model.world} ranks cannot "
                               f"share steps of {samples} samples: make batch_size a multiple of "
                               f"{STREAMS}, no larger than the training set")
        order = order_of(train, streams, self.window, self.seed_for("order"))
        own = range(streams)[share(streams, eval_model.rank, eval_model.world)]
        reader = Streams(train, order, FixedSize(samples, streams), own,
                         self.seed_for("augmentation"), self.transform, None)
        for part in step_batches(reader, 0, self.epochs * batches, eval_model.workers):
            pieces = torch.split(part.batch["image"], self.forward_batch_size)
            tokens = torch.cat([dense(encode_pixels(eval_model, piece, self.features)).float()
                                for piece in pieces])
            _check_tokens(tokens)
            yield tokens, part.batch["label"].to(eval_model.device), samples

    def _tokens(self, eval_model: EvalModel, source: Source,
                classes: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Tokens and labels of this rank's share of a data set, as evaluation sees it."""
        for chunk, tokens in encode(eval_model, source, self.forward_batch_size, self.features):
            label = torch.tensor(chunk["label"], dtype=torch.int64, device=eval_model.device)
            label = in_classes_of(self.train_dataset, source, label)
            yield tokens, _checked(label, classes)


def _check_tokens(tokens: Tensor) -> None:
    if tokens.dim() != 3:
        raise CorekitError("evaluator 'attentive_probe' needs tokens [N, D] of each image, not "
                           f"{list(tokens.shape[1:])}: name them with its `features`")


def _checked(label: Tensor, classes: int) -> Tensor:
    wrong = label[(label < 0) | (label >= classes)]
    if len(wrong):
        raise CorekitError(f"evaluator 'attentive_probe': a label is {int(wrong[0])}, but there "
                           f"are {classes} classes: set its num_classes")
    return label
