"""AIM's pre-training: who sees whom, what is counted, and the same loss however a step is cut."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from corekit_projects.aimv2.losses import NextPatch, patchify
from corekit_projects.aimv2.prefix import prefix_attention, prefix_lengths
from torch import Tensor, nn

import corekit
from corekit import CorekitError
from corekit.distributed.process_group import ProcessGroup
from corekit.linear_output import LinearOutput
from corekit.losses.next_token import NextToken
from corekit.train.step.forward import StepRandom
from corekit.train.step.loss_terms import WeightedLoss
from tests.train.step.steps import step_of

SMALL = {"width_divisor": 16, "depth_divisor": 12}
WORDS, LENGTH, END = 50, 6, 2
PATCHES = 9  # of pictures of 42 x 42 pixels


def pretrainer(name: str = "aimv2_pretrain", **arguments: Any) -> nn.Module:
    torch.manual_seed(0)
    if name == "aimv2_pretrain":
        arguments = {"context_length": LENGTH, "vocab_size": WORDS, **arguments}
    return corekit.create_model(name, **SMALL, **arguments)


def uniform_of(length: int) -> float:
    """A number that makes a prefix of that length."""
    return (length - 0.5) / (PATCHES - 1)


def test_every_length_of_the_prefix_is_as_likely_as_the_others() -> None:
    patches = 257
    even = torch.arange(256 * 40) / (256 * 40)
    assert torch.equal(
        prefix_lengths(even, patches).bincount(minlength=patches)[1:], torch.full((256, ), 40))
    drawn = prefix_lengths(torch.rand(256 * 40, generator=torch.Generator().manual_seed(0)),
                           patches).bincount()[1:]
    assert abs(float((drawn - 40).square().sum() / 40) - 255) < 3 * math.sqrt(2 * 255), "chi-square"
    assert prefix_lengths(torch.tensor([0.0, 1 - 2**-24]), 4097).tolist() == [1, 4096]
    assert prefix_lengths(torch.rand(3), 1).tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["aimv2_pretrain", "aimv1_pretrain"])
def test_a_prediction_sees_the_prefix_and_what_comes_before_it_and_nothing_else(name: str) -> None:
    model = pretrainer(name).double()
    text = torch.randint(WORDS, (1, LENGTH))
    for length in range(1, PATCHES):
        image = torch.randn(1, 3, 42, 42, dtype=torch.float64, requires_grad=True)
        uniform = torch.tensor([uniform_of(length)], dtype=torch.float64)
        predicted = model(image, text, uniform)["patch_predictions"].dense()[0]
        assert predicted.shape == (PATCHES - 1, 588)
        for i in range(PATCHES - 1):
            grad = torch.autograd.grad(predicted[i].square().sum(), image, retain_graph=True)[0]
            influence = patchify(grad)[0].abs().amax(1)
            assert influence[max(i + 1, length):].eq(0).all(), (length, i)
            assert influence[:max(i + 1, length)].gt(0).all(), (length, i)


def test_a_word_sees_all_patches_and_the_words_before_it() -> None:
    model = pretrainer().double()
    image, uniform = torch.randn(1, 3, 42, 42, dtype=torch.float64,
                                 requires_grad=True), torch.tensor([0.4])
    text = torch.randint(WORDS, (1, LENGTH))
    logits = model(image, text, uniform)["text_logits"].dense()[0]
    assert logits.shape == (LENGTH, WORDS)
    for position in range(LENGTH):
        assert patchify(torch.autograd.grad(logits[position].square().sum(), image,
                                            retain_graph=True)[0]).abs().amax(2).gt(0).all()
        other = text.clone()
        other[0, position] = (other[0, position] + 1) % WORDS
        moved = (model(image, other, uniform)["text_logits"].dense()[0] - logits).abs().amax(1)
        assert moved[:position + 1].eq(0).all()
        assert moved[position + 1:].gt(0).all()


@torch.no_grad()
def test_both_backends_of_prefix_attention_are_the_softmax_over_what_is_seen() -> None:
    torch.manual_seed(0)
    lengths, tokens = torch.tensor([1, 4, 19]), 20
    query, key, value = torch.randn(3, 3, 2, tokens, 16).unbind()
    outputs = {
        backend: prefix_attention(lengths, tokens, backend)(query, key,
                                                            value)  # type: ignore[arg-type]
        for backend in ("sdpa", "flex")
    }
    for sample, length in enumerate(lengths.tolist()):
        for token in range(tokens):
            seen = max(token + 1, length)
            share = (query[sample, :, token, None] * key[sample, :, :seen]).sum(2).div(4).softmax(1)
            expected = (share[:, :, None] * value[sample, :, :seen]).sum(1)
            for mixed in outputs.values():
                assert (mixed[sample, :, token] - expected).abs().max() < 1e-5
    with torch.enable_grad(), pytest.raises(CorekitError, match="no backward pass on a CPU: set "
                                                                "model.attention=sdpa"):
        prefix_attention(lengths, tokens, "flex")(query.requires_grad_(), key, value)


@torch.no_grad()
def test_the_whole_model_is_the_same_by_both_backends() -> None:
    image, text, uniform = torch.randn(2, 3, 42, 42), torch.randint(WORDS,
                                                                    (2, LENGTH)), torch.rand(2)
    plain, blocks = (pretrainer(attention=backend)(image, text, uniform)
                     for backend in ("sdpa", "flex"))
    for name in ("patch_predictions", "text_logits"):
        assert (plain[name].dense() - blocks[name].dense()).abs().max() < 1e-5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_gradients_are_the_same_by_both_backends() -> None:
    image, text, uniform = (torch.randn(2, 3, 42, 42), torch.randint(WORDS, (2, LENGTH)),
                            torch.rand(2))
    grads = []
    for backend in ("sdpa", "flex"):
        model = pretrainer(attention=backend).cuda()
        outputs = model(image.cuda(), text.cuda(), uniform.cuda())
        torch.autograd.backward([out.dense().square().sum() for out in outputs.values()])
        grads.append(torch.cat([value.grad.flatten() for value in model.parameters()
                                if value.grad is not None]))
    assert (grads[1] - grads[0]).norm() <= 1e-5 * grads[0].norm()


@pytest.mark.parametrize("name", ["aimv2_pretrain", "aimv1_pretrain"])
@pytest.mark.filterwarnings("error")
def test_under_autocast_the_residual_stream_keeps_its_precision(name: str) -> None:
    model, image, text, uniform = pretrainer(name), torch.randn(2, 3, 42, 42), torch.randint(
        WORDS, (2, LENGTH)), torch.rand(2)
    seen = []
    for block in (*model.encoder.blocks, *model.decoder.blocks):
        block.register_forward_hook(lambda block, inputs, tokens: seen.append(tokens.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(image, text, uniform)
    assert set(seen) == {torch.float32}
    exact = model(image, text, uniform)
    for key, output in outputs.items():
        assert output.hidden.dtype == torch.bfloat16
        assert (output.dense() - exact[key].dense()).norm() < 0.03 * exact[key].dense().norm()


def test_without_a_prefix_mask_the_encoder_is_the_one_that_is_evaluated() -> None:
    model, image = pretrainer().eval(), torch.randn(2, 3, 42, 42)
    assert torch.equal(model.encode_image(image), model.encoder(image)["pooled"])


def test_the_published_decoder_has_its_size() -> None:
    with torch.device("meta"):
        model = corekit.create_model("aimv2_pretrain")
        outputs = model(torch.empty(2, 3, 224, 224), torch.zeros(2, 77, dtype=torch.int64),
                        torch.empty(2))
    counts = {
        name: sum(value.numel() for value in part.parameters())
        for name, part in model.decoder.named_children()
    }
    assert counts["blocks"] + counts["norm"] == 154_166_272
    assert sum(value.numel()
               for value in model.decoder.parameters()) == pytest.approx(221.4e6, abs=0.1e6)
    assert model.decoder.positional_embedding.shape == (78, 1024)
    assert outputs["patch_predictions"].hidden.shape == (2, 255, 1024)
    assert outputs["text_logits"].hidden.shape == (2, 77, 1024)
    for head in (model.decoder.patch_head, model.decoder.text_head):
        assert head.bias is None


def test_patches_count_outside_the_prefix_and_are_normalised() -> None:
    torch.manual_seed(0)
    lengths = [1, 5, 8]
    image, uniform = torch.randn(3, 3, 42,
                                 45), torch.tensor([uniform_of(length) for length in lengths])
    predicted = torch.randn(3, PATCHES - 1, 588)
    expected = 0.0
    for sample, length in enumerate(lengths):
        for patch in range(length, PATCHES):
            row, column = divmod(patch, 3)
            pixels = image[sample, :, 14 * row:14 * row + 14,
                           14 * column:14 * column + 14].permute(1, 2, 0).reshape(-1)
            true = (pixels - pixels.mean()) / (pixels.var() + 1e-6).sqrt()
            expected += float((predicted[sample, patch - 1] - true).square().sum()) / 588
    assert float(NextPatch()(predicted, image, uniform)) == pytest.approx(expected, rel=1e-5)
    assert int(NextPatch().weights(image, uniform)) == sum(PATCHES - length for length in lengths)
    weight = torch.randn(588, 7)
    wide = LinearOutput(torch.randn(3, PATCHES - 1, 7), weight, None)
    assert torch.allclose(NextPatch()(wide, image, uniform),
                          NextPatch()(wide.dense(), image, uniform))
    plain = NextPatch(normalize=False)(patchify(image)[:, 1:], image, uniform)
    assert float(plain) == 0
    with pytest.raises(CorekitError, match="7 tokens, and the decoder is made for 6"):
        pretrainer()(image, torch.zeros(3, 7, dtype=torch.int64), uniform)
    with pytest.raises(CorekitError, match="no text: set model.objective=image"):
        pretrainer()(image)
    with pytest.raises(CorekitError, match="encoder=aimv2_large_lit is no encoder of patches"):
        pretrainer(encoder="aimv2_large_lit")


def test_one_patch_has_nothing_to_predict() -> None:
    image, uniform = torch.randn(2, 3, 14, 14), torch.rand(2)
    outputs = pretrainer()(image, torch.randint(WORDS, (2, LENGTH)), uniform)
    assert NextPatch()(outputs["patch_predictions"], image, uniform).item() == 0
    assert int(NextPatch().weights(image, uniform)) == 0
    assert outputs["text_logits"].dense().shape == (2, LENGTH, WORDS)


def weighted_losses() -> list[WeightedLoss]:
    return [
        WeightedLoss.of(NextToken(END), "text", 1.0),
        WeightedLoss.of(NextPatch(), "image", 0.4)
    ]


def one_step(micro_batches: int) -> tuple[dict[str, float], dict[str, Tensor]]:
    model = pretrainer().double()
    generator = torch.Generator().manual_seed(1)
    text = torch.randint(3, WORDS, (8, LENGTH), generator=generator)
    for row, length in enumerate((1, 2, 3, 4, 5, 6, 6, 0)):
        text[row, length:] = END  # padded with the end
    image = torch.randn(8, 3, 42, 42, generator=generator, dtype=torch.float64)
    size = 8 // micro_batches
    batches = [{
        "image": image[first:first + size], "text": text[first:first + size],
        "key": [str(n) for n in range(first, first + size)]
    } for first in range(0, 8, size)]
    step = step_of(model, weighted_losses(), micro_batches, seed=7, steps=10)
    losses, _ = step(batches, 3)
    return losses, {
        name: value.grad for name, value in model.named_parameters() if value.grad is not None
    }


def test_the_loss_and_its_gradients_are_the_same_however_a_step_is_cut() -> None:
    (whole, grads), *others = (one_step(count) for count in (1, 2, 4, 8))
    assert whole["loss"] == pytest.approx(whole["text"] + 0.4 * whole["image"], rel=1e-12)
    for losses, other_grads in others:
        assert losses == pytest.approx(whole, rel=1e-12)
        assert other_grads.keys() == grads.keys()
        assert all(
            torch.allclose(value, grads[name], rtol=1e-9, atol=1e-12)
            for name, value in other_grads.items())


@pytest.mark.parametrize(("objective", "left"), [("image", {"text_logits"}),
                                                 ("text", {"patch_predictions"})])
def test_one_objective_alone_has_no_parameter_of_the_other(objective: str, left: set[str]) -> None:
    model = pretrainer(objective=objective)
    text = None if objective == "image" else torch.randint(WORDS, (2, LENGTH))
    outputs = model(torch.randn(2, 3, 42, 42), text, torch.rand(2))
    assert {"patch_predictions", "text_logits"} - outputs.keys() == left
    sum(output.dense().square().sum() for output in outputs.values()).backward()
    assert all(value.grad is not None and value.grad.any() for value in model.parameters())


def test_the_tokens_before_a_word_and_itself_are_its_target() -> None:
    """The decoder learns a caption by heart, its end included, and says it word by word."""
    model = pretrainer(encoder="aimv2_base_224", objective="text")
    image, text = torch.randn(2, 3, 28, 28), torch.tensor([[5, 9, 7, END, END, END],
                                                           [9, 5, 5, 8, 6, END]])
    optimizer, loss = torch.optim.AdamW(model.parameters(), 3e-3), NextToken(END)
    for _ in range(60):
        optimizer.zero_grad()
        total = loss(model(image, text, torch.rand(2))["text_logits"], text)
        total.backward()
        optimizer.step()
    words = torch.zeros(2, LENGTH, dtype=torch.int64)
    with torch.no_grad():
        for position in range(LENGTH):
            logits = model(image, words, torch.rand(2))["text_logits"].dense()
            words[:, position] = logits[:, position].argmax(1)
    assert F.pad(words[0, :4], (0, 2), value=END).tolist() == text[0].tolist()
    assert words[1].tolist() == text[1].tolist()


def test_prefixes_are_of_the_seed_the_step_and_the_sample_alone() -> None:
    def drawn(step: int, seed: int = 0, rank: int = 0, world: int = 1,
              micro_batches: int = 2) -> Tensor:
        random = StepRandom(seed, ProcessGroup(rank, world, torch.device("cpu")), micro_batches)
        return prefix_lengths(random.uniform(step, 4096 // micro_batches).flatten(), 256)

    assert torch.equal(drawn(3), drawn(3, micro_batches=8))
    assert torch.equal(
        drawn(3), torch.cat([drawn(3, rank=rank, world=4, micro_batches=8) for rank in range(4)]))
    ranks = drawn(3).view(2, -1)
    for one, other in ((drawn(3), drawn(4)), (drawn(3), drawn(3, seed=1)), tuple(ranks)):
        assert abs(float(torch.corrcoef(torch.stack([one, other]).double())[0, 1])) < 0.05
