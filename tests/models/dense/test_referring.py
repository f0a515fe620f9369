"""The finder of referring expressions."""

import pytest
import torch

import corekit
from corekit.losses.referring import Referring

SMALL = {"vocab_size": 64, "image_size": 32}


def test_boxes_are_around_their_cells_and_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    model = corekit.create_model("catlip_referring_nano", **SMALL).eval()
    image = torch.rand(2, 3, 32, 48)
    text = torch.tensor([[3, 4, 63, 0, 0], [5, 63, 0, 0, 0]])
    outputs = model(image, text)
    centers, boxes = outputs["cell_centers"], outputs["cell_boxes"]
    assert centers[0, :7].tolist() == [[4, 4], [12, 4], [20, 4], [28, 4], [36, 4], [44, 4], [4, 12]]
    assert (boxes[..., :2] < centers).all()
    assert (boxes[..., 2:] > centers).all()
    text[:, 4] = 9  # after the end
    torch.testing.assert_close(model(image, text)["cell_scores"], outputs["cell_scores"])
    text[0, 1] = 9
    assert not torch.allclose(model(image, text)["cell_scores"][0], outputs["cell_scores"][0])
    answer = model.refer(image, text)
    assert answer["boxes"].shape == (2, 24, 4)
    assert (answer["scores"].diff(dim=1) <= 0).all()


def test_it_learns_two_pictures_by_heart() -> None:
    torch.manual_seed(0)
    model = corekit.create_model("catlip_referring_nano", **SMALL)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    image, text = torch.rand(2, 3, 32, 32), torch.tensor([[3, 63], [4, 63]])
    boxes = torch.tensor([[2.0, 2, 14, 14], [10, 16, 30, 30]])
    for _ in range(80):
        parts = Referring()(**model(image, text), boxes=boxes, box_offsets=torch.arange(3))
        optimizer.zero_grad()
        sum(parts.values()).backward()  # type: ignore[union-attr]
        optimizer.step()
    model.eval()
    found = model.refer(image, text)["boxes"][:, 0]
    assert (found - boxes).abs().max() < 3


def test_cells_know_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = corekit.create_model("catlip_referring_nano", **SMALL).eval()
    monkeypatch.setattr(model.encoder, "feature_map", lambda image: torch.ones(1, 192, 4, 4))
    scores = model(torch.zeros(1, 3, 32, 32), torch.tensor([[3, 63]]))["cell_scores"]
    assert len(scores[0].unique()) == 16
