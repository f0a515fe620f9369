"""The attentive probe: its heads against plain loops over torch's modules, how it chooses, that it
leaves the trunk alone.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from corekit import CorekitError
from corekit.data.transforms.geometric import CenterCrop
from corekit.data.transforms.preprocess import to_tensor
from corekit.evaluation.probes.attentive_heads import Heads, TokenNorm
from corekit.evaluation.probes.attentive_probe import AttentiveProbe
from corekit.evaluation.probes.grid import Grid
from corekit.models.layers.pooling import AttentionPool
from tests.evaluation.known import Numbered, attention_pool, eval_model, on_ranks

CLASSES, WIDTH, TOKENS, TRAIN, TEST = 4, 8, 5, 60, 30
POINTS = [(1e-3, 0.05), (3e-2, 0.1), (1e-2, 0.5)]
RATES = (1e-3, 1e-2)


class TokenTable(nn.Module):
    """Tokens by the picture's number."""

    def __init__(self, tokens: Tensor) -> None:
        super().__init__()
        self.tokens, self.seen = nn.Parameter(tokens), []  # type: ignore[var-annotated]

    def encode_tokens(self, image: Tensor) -> Tensor:
        number = (image[:, 0, 0, 0] * 255).round().long()
        self.seen += number.tolist()
        return self.tokens[number]


def scenes(noise: float) -> tuple[TokenTable, Numbered, Numbered]:
    """One token of five says the class, and another channel which one that is; the others are
    noise.
    """
    generator = torch.Generator().manual_seed(3)
    label = torch.arange(TRAIN + TEST) % CLASSES
    tokens = torch.randn(TRAIN + TEST, TOKENS, WIDTH, generator=generator)
    which = torch.randint(TOKENS, (TRAIN + TEST,), generator=generator)
    centres = 3 * torch.randn(CLASSES, WIDTH, generator=generator)
    centres[:, 0] = 6
    rows = torch.arange(TRAIN + TEST)
    tokens[rows,
           which] = centres[label] + noise * torch.randn(TRAIN + TEST, WIDTH, generator=generator)
    labels = label.tolist()
    return (TokenTable(2 + tokens * torch.logspace(-2, 2, WIDTH)),
            Numbered(range(TRAIN), labels[:TRAIN],
                     bad=[3, 50]), Numbered(range(TRAIN, TRAIN + TEST), labels[TRAIN:], bad=[7]))


def probe(test: Numbered, train: Numbered, **more: object) -> AttentiveProbe:
    return AttentiveProbe(
        **{
            "dataset": test, "train_dataset": train,
            "num_classes": CLASSES,  # type: ignore[arg-type]
            "learning_rates": RATES, "epochs": 20, "batch_size": 16, "head_width": 4,
            "forward_batch_size": 7, **more
        })


@pytest.mark.parametrize("clip", [None, 0.3])
def test_each_head_is_what_it_is_when_trained_alone(clip: float | None) -> None:
    torch.manual_seed(0)
    steps, warmup, final = 9, 3, 1e-5
    head = AttentionPool(WIDTH, CLASSES, 2).double()
    start = {name: value.clone() for name, value in head.state_dict().items()}
    data = [(3 + 2 * torch.randn(6, TOKENS, WIDTH, dtype=torch.float64),
             torch.randint(CLASSES, (6, ))) for _ in range(steps)]
    norm = TokenNorm(WIDTH, torch.device("cpu"), lambda tensor: tensor)
    norm.mean, norm.variance = norm.mean.double(), norm.variance.double()
    heads = Heads(Grid(head, POINTS, steps, warmup, final, clip), norm, lambda tensor: tensor)
    for tokens, label in data:
        heads.step(tokens, label, len(label))
    scores = heads.scores(data[:2])
    for index, (rate, decay) in enumerate(POINTS):
        single = AttentionPool(WIDTH, CLASSES, 2).double()
        single.load_state_dict(start)
        theirs = nn.BatchNorm1d(WIDTH, eps=1e-6, affine=False).double()
        optimizer = torch.optim.AdamW(single.parameters(), lr=rate, betas=(0.9, 0.999),
                                      weight_decay=decay)
        for step, (tokens, label) in enumerate(data):
            falling = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
            optimizer.param_groups[0]["lr"] = (rate * (step + 1) / warmup if step < warmup
                                               else final + (rate - final) * falling)
            optimizer.zero_grad()
            normed = theirs(tokens.transpose(1, 2)).transpose(1, 2)
            F.cross_entropy(attention_pool(single, normed),
                            label).backward()  # type: ignore[no-untyped-call]
            if clip is not None:
                nn.utils.clip_grad_norm_(single.parameters(), clip)
            optimizer.step()
        for actual, value in zip(heads.grid.one(index).values(), single.parameters(), strict=True):
            assert torch.allclose(actual, value, rtol=1e-8, atol=1e-10)
        tokens, label = (torch.cat(part) for part in zip(*data[:2]))
        logits = attention_pool(single, theirs.eval()(tokens.transpose(1, 2)).transpose(1, 2))
        assert scores[index]["validation_loss"] == pytest.approx(
            F.cross_entropy(logits, label).item(), rel=1e-8)
        top1 = (logits.argmax(1) == label).double().mean().item()
        assert scores[index]["validation_top1"] == top1


@pytest.mark.parametrize("drawn", [False, True])
def test_scenes_that_one_token_tells_apart(drawn: bool) -> None:
    model, train, test = scenes(0.1)
    transform = CenterCrop(eval_model(model).preprocess) if drawn else None
    result = probe(test, train, transform=transform)(eval_model(model))
    assert result.metrics["top1"] > 0.9
    assert result.samples == TEST - 1
    assert [(point["learning_rate"], point["weight_decay"]) for point in result.details["grid"]
            ] == [(rate, decay) for rate in RATES for decay in (0.05, 0.1)]
    seen = {number: model.seen.count(number) for number in range(TRAIN + TEST)}
    held = [number for number in range(TRAIN) if seen[number] == 1]
    # 20 epochs of four steps of 16, and the held-out samples once: they are never trained on
    if drawn:
        assert 5 <= len(held) <= 6
        assert sum(seen.values()) == 20 * 4 * 16 + len(held) + TEST - 1
    else:
        assert len(held) == TRAIN - 2, "every image passes through the model once"
    noise = TokenTable(torch.randn(TRAIN + TEST, TOKENS, WIDTH))
    assert probe(test, train)(eval_model(noise)).metrics["top1"] < 0.6


def test_the_best_on_the_validation_samples_is_reported_and_test_labels_never_matter() -> None:
    model, train, test = scenes(1.5)
    result = probe(test, train)(eval_model(model))
    grid, best = result.details["grid"], result.details["chosen"]
    assert best in grid
    assert best["validation_top1"] == max(point["validation_top1"] for point in grid)
    alone = probe(test, train, learning_rates=[best["learning_rate"]],
                  weight_decays=[best["weight_decay"]])(eval_model(model))
    assert alone.metrics == result.metrics
    assert alone.details["chosen"] == pytest.approx(best, rel=1e-3)
    upside_down = Numbered(test.numbers, [CLASSES - 1 - label for label in test.values["label"]],
                           bad=[7])
    other = probe(upside_down, train)(eval_model(model))
    assert other.details == result.details
    assert other.metrics["top1"] < 0.5 < result.metrics["top1"]


def test_training_images_are_augmented_and_others_are_not() -> None:
    model, train, test = scenes(0.1)
    drawn: list[float] = []

    def transform(image: Image.Image) -> Tensor:
        drawn.append(torch.rand(()).item())
        return to_tensor(image)

    before = torch.get_rng_state()
    first = probe(test, train, transform=transform, epochs=2)(eval_model(model))
    assert len(drawn) == len(set(drawn)) == 2 * 4 * 16, "every draw is another one"
    assert torch.equal(torch.get_rng_state(),
                       before), "training goes on with the draws it would have had"
    again = drawn.copy()
    drawn.clear()
    assert probe(test, train, transform=transform,
                 epochs=2)(eval_model(model)).details == first.details
    assert drawn == again


@pytest.mark.parametrize("drawn", [False, True])
def test_ranks_change_nothing_but_rounding(drawn: bool) -> None:
    model, train, test = scenes(1.0)
    transform = CenterCrop(eval_model(model).preprocess) if drawn else None
    evaluator = probe(test, train, transform=transform, epochs=4)
    alone = evaluator(eval_model(model))
    for result in on_ranks(evaluator, eval_model(model), 2):
        assert (result.metrics, result.samples) == (alone.metrics, alone.samples)
        assert result.details["trunk_sha256"] == alone.details["trunk_sha256"]
        for actual, expected in zip(result.details["grid"], alone.details["grid"], strict=True):
            assert actual == pytest.approx(expected, rel=1e-4)
    if drawn:
        with pytest.raises(CorekitError, match="3 ranks cannot share steps of 2 samples: make "
                                               "batch_size a multiple of 64"):
            on_ranks(probe(test, train, transform=transform, batch_size=2), eval_model(model), 3)


class Counting(TokenTable):
    """A trunk whose forward pass leaves a trace."""

    def __init__(self, tokens: Tensor) -> None:
        super().__init__(tokens)
        self.register_buffer("calls", torch.tensor(0))

    def encode_tokens(self, image: Tensor) -> Tensor:
        self.calls += 1
        return super().encode_tokens(image)


def test_the_trunk_is_the_same_before_and_after_or_it_is_said() -> None:
    model, train, test = scenes(0.1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = probe(test, train, epochs=1)(eval_model(model))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.tokens.grad is None
    other = TokenTable(model.tokens.detach().clone())
    assert probe(test, train, epochs=1)(
        eval_model(other)).details["trunk_sha256"] == result.details["trunk_sha256"]
    with torch.no_grad():
        other.tokens[-1, -1, -1] = torch.nextafter(other.tokens[-1, -1, -1], torch.tensor(9.0))
    assert probe(test, train, epochs=1)(
        eval_model(other)).details["trunk_sha256"] != result.details["trunk_sha256"]
    with pytest.raises(CorekitError, match="the model is not the same after its tokens were "
                                           "computed"):
        probe(test, train, epochs=1)(eval_model(Counting(model.tokens.detach())))


def test_what_it_cannot_do_is_said() -> None:
    model, train, test = scenes(0.1)
    with pytest.raises(CorekitError, match=r"`label` field; for shards, set train_dataset.fields"):
        probe(test, Numbered(range(3), text=["a", "b", "c"]))
    with pytest.raises(CorekitError, match="'attentive_probe' needs learning_rates above 0"):
        probe(test, train, learning_rates=[])
    with pytest.raises(CorekitError, match="epochs, batch_size, head_width, forward_batch_size and "
                                           "window of 1 or more"):
        probe(test, train, window=0)
    with pytest.raises(CorekitError, match="how many classes there are: set its num_classes"):
        probe(test, train, num_classes=None)(eval_model(model))
    for wrong in ({"num_classes": -5}, {"grad_clip": 0.0}, {"grad_clip": -1.0}):
        with pytest.raises(CorekitError, match="needs num_classes of 1 or more and grad_clip above "
                                               "0"):
            probe(test, train, **wrong)
    with pytest.raises(CorekitError, match="a label is 3, but there are 3 classes"):
        probe(test, train, num_classes=3)(eval_model(model))
    with pytest.raises(CorekitError, match=r"needs tokens \[N, D\] of each image, not \[8\]"):
        probe(test, train)(eval_model(TokenTable(model.tokens.detach()[:, 0])))


def test_a_model_that_needs_more_than_images_is_told_what_would_do() -> None:
    class Pair(nn.Module):
        def forward(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
            return {"tokens": image}

    _, train, test = scenes(0.1)
    with pytest.raises(CorekitError, match="its forward needs image, text, and it has no "
                                           "encode_tokens"):
        probe(test, train)(eval_model(Pair()))
