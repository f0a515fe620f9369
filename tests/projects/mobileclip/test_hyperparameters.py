"""Every recipe prepares pictures as its model's weights want them, and decays what its source decays."""

import open_clip
import pytest
import torch
from corekit_projects.mobileclip.preprocess import PREPROCESS

from corekit.optim.parameter_groups import undecayed
from tests.plain import model_of, preprocess_of
from tests.projects.recipe_tables import composed, names

NAMES = names("mobileclip")


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_prepared_as_the_models_weights_want_them(name: str) -> None:
    recipe = composed("mobileclip", name)
    model = recipe["model"]["name"]
    if model in PREPROCESS:
        assert preprocess_of(recipe) == PREPROCESS[model]
    else:
        assert model in ("clip_vit_b16", "mobileclip_nano")
    variant = name if name.startswith("mobileclip2") else f"mobileclip_{name.removesuffix('_constant')}"
    assert model == variant or variant not in PREPROCESS


@pytest.mark.parametrize(("name", "theirs"), [("datacomp12m", "ViT-B-16"), ("dfndr12m", "MobileCLIP-B")])
def test_what_is_not_decayed_is_what_open_clips_script_does_not_decay(name: str, theirs: str) -> None:
    recipe = composed("mobileclip", name)
    ours = dict(model_of(recipe).named_parameters())
    with torch.device("meta"):
        model = open_clip.create_model(theirs, device="meta")
    # Vectors, norms, biases and the logit scale, as open_clip_train/main.py tells them by shape and name.
    expected = [value.numel() for key, value in model.named_parameters()
                if value.ndim < 2 or any(part in key for part in ("bn", "ln", "bias", "logit_scale"))]
    exempt = undecayed(model_of(recipe), recipe["optimizer"]["no_decay"])
    assert sum(ours[key].numel() for key in exempt) == sum(expected)
    assert sum(value.numel() for value in ours.values()) == sum(value.numel() for value in model.parameters())
