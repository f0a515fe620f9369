"""The text tower: which tokens see which, positions of other lengths, stochastic depth."""

import numpy as np
import pytest
import torch
from torch import Tensor

from corekit.models.transformer import TextTransformer, drop_path, drop_path_rates

END = 49


def tower(causal: bool) -> TextTransformer:
    torch.manual_seed(0)
    return TextTransformer(32, heads=4, layers=3, embed_dim=16, causal=causal, context_length=12, vocab_size=50)


def captions() -> Tensor:
    text = torch.zeros(2, 12, dtype=torch.long)
    text[0, :4] = torch.tensor([1, 7, 8, END])
    text[1, :7] = torch.tensor([1, 3, 4, 5, 6, 9, END])
    return text


@pytest.mark.parametrize(("causal", "padding_matters"), [(True, False), (False, True)])
def test_padding_is_seen_unless_the_tower_is_causal(causal: bool, padding_matters: bool) -> None:
    model, text = tower(causal), captions()
    other_padding = text.clone()
    other_padding[0, 4:] = 2
    change = (model(text)[0] - model(other_padding)[0]).abs().max().item()
    assert (change > 1e-4) == padding_matters


def test_the_feature_is_that_of_the_end_token_wherever_it_stands() -> None:
    model, text = tower(causal=True), captions()
    together = model(text)
    for row, length in enumerate((4, 7)):
        x = model.token_embedding(text[row, :length]) + model.positional_embedding[:length]
        last = model.ln_final(model.transformer(x[None]))[0, -1]
        torch.testing.assert_close(together[row], last @ model.text_projection)


def test_the_caption_before_the_end_token_matters() -> None:
    model, text = tower(causal=True), captions()
    other = text.clone()
    other[0, 1] = 30
    assert (model(text)[0] - model(other)[0]).abs().max() > 1e-4
    torch.testing.assert_close(model(text)[1], model(other)[1])


@pytest.mark.parametrize("length", [5, 20])
def test_positions_of_other_lengths_are_interpolated_linearly(length: int) -> None:
    model = tower(causal=False)
    table = model.positional_embedding.detach().numpy()
    centres = (np.arange(length) + 0.5) * 12 / length - 0.5
    expected = np.stack([np.interp(centres, np.arange(12), column) for column in table.T], axis=1)
    np.testing.assert_allclose(model.positions(length).detach().numpy(), expected, atol=1e-7)


def test_initial_residual_stream_keeps_its_size() -> None:
    """CLIP's initialisation: branches end in weights of std (2 · layers · width)^-0.5."""
    torch.manual_seed(0)
    block = TextTransformer(64, heads=4, layers=8, embed_dim=16, causal=True, vocab_size=50).transformer.resblocks[0]
    for weight, std in ((block.attn.in_proj_weight, 64**-0.5), (block.attn.out_proj.weight, 1024**-0.5),
                        (block.mlp.c_fc.weight, 128**-0.5), (block.mlp.c_proj.weight, 1024**-0.5)):
        assert weight.std().item() == pytest.approx(std, rel=0.05)


def test_drop_path_leaves_out_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    dropped = drop_path(torch.ones(4000, 3, 2), 0.25, training=True)
    samples = dropped.flatten(1)
    assert torch.equal(samples.amin(1), samples.amax(1))
    torch.testing.assert_close(samples[:, 0].unique(), torch.tensor([0, 4 / 3]))
    assert samples.mean().item() == pytest.approx(1, abs=0.03)
    update = torch.randn(4, 3)
    assert drop_path(update, 0.25, training=False) is update


def test_drop_path_rates_grow_linearly() -> None:
    assert drop_path_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0]
