"""DeepLabv3: context of constant pictures, and logits that are stretched once."""

import torch
import torch.nn.functional as F

import corekit


def test_a_constant_picture_has_constant_logits_away_from_its_border() -> None:
    torch.manual_seed(0)
    model = corekit.create_model("catlip_deeplabv3_nano", num_classes=3).eval()
    with torch.no_grad():
        model.encoder.pos_embed.zero_()
        logits = model.classifier(model.aspp(torch.full((1, 192, 12, 12), 0.3)))
    inner = logits[:, :, 3:-3, 3:-3]  # the largest dilation is 3
    assert torch.allclose(inner, inner[:, :, :1, :1].expand_as(inner), atol=1e-6)
    assert not torch.allclose(logits, logits[:, :, 5:6, 5:6].expand_as(logits), atol=1e-6)


def test_own_size_is_one_stretch_of_the_maps_logits() -> None:
    torch.manual_seed(0)
    model = corekit.create_model("catlip_deeplabv3_nano", num_classes=3).eval()
    image = torch.rand(1, 3, 80, 80)
    small: list[torch.Tensor] = []
    model.classifier.register_forward_hook(lambda *own: small.append(own[2]))
    own = model.segment(image, (20, 11))
    assert small[0].shape == (1, 3, 10, 10)
    expected = F.interpolate(small[0], (20, 11), mode="bilinear", align_corners=True)
    assert torch.equal(own, expected)
    twice = F.interpolate(model(image)["logits"], (20, 11), mode="bilinear", align_corners=True)
    assert not torch.allclose(own, twice, atol=1e-4)
