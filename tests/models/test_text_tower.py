"""The text tower: which tokens see which, positions of other lengths, open_clip's names."""

import numpy as np
import open_clip
import pytest
import torch
from torch import Tensor

from corekit.models.text_tower import TextTransformer, open_clip_names

END = 49


def tower(causal: bool) -> TextTransformer:
    torch.manual_seed(0)
    return TextTransformer(32,
                           heads=4,
                           layers=3,
                           embed_dim=16,
                           causal=causal,
                           context_length=12,
                           vocab_size=50)


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
    block = TextTransformer(64, heads=4, layers=8, embed_dim=16, causal=True,
                            vocab_size=50).transformer.resblocks[0]
    for weight, std in ((block.attn.qkv.weight, 64**-0.5), (block.attn.proj.weight, 1024**-0.5),
                        (block.mlp.fc1.weight, 128**-0.5), (block.mlp.fc2.weight, 1024**-0.5)):
        assert weight.std().item() == pytest.approx(std, rel=0.05)


def test_open_clips_names_and_those_of_older_files_are_loaded() -> None:
    theirs = open_clip.create_model("ViT-B-32", text_cfg={"layers": 2}).state_dict()
    names = {
        name
        for name in theirs if name.startswith(("transformer.", "ln_final.", "token_embedding."))
    }
    names |= {"positional_embedding", "text_projection"}
    model = TextTransformer(layers=2, causal=True)
    model.load_state_dict({name: theirs[name] for name in names})
    renamed = open_clip_names(model.state_dict())
    assert {renamed.get(name, name) for name in model.state_dict()} == names
    for name, value in model.state_dict().items():
        assert torch.equal(value, theirs[renamed.get(name, name)])
    with pytest.raises(RuntimeError, match=r"Unexpected.*ln_1\.other"):
        model.load_state_dict({
            **model.state_dict(), "transformer.resblocks.0.ln_1.other": torch.zeros(1)
        })


def test_other_modules_keep_their_names() -> None:
    names = [
        "resblocks.0.mlp.fc1.weight", "blocks.0.attn.qkv.weight", "a.resblocks.1.attn.qkv.weight",
        "a.resblocks.1.mlp.fc1.bias", "resblocks.1.mlp.fc1.bias"
    ]
    assert open_clip_names(names) == {
        "a.resblocks.1.attn.qkv.weight": "a.resblocks.1.attn.in_proj_weight",
        "a.resblocks.1.mlp.fc1.bias": "a.resblocks.1.mlp.c_fc.bias"
    }
