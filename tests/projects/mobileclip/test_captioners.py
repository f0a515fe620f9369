"""Captioners: each caption is a draw of its own, whatever else is in the batch, from what the model
finds probable.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from corekit_projects.mobileclip.captioners import CoCa, NearestCaptions, nucleus
from PIL import Image
from torch import Tensor

import corekit
from corekit import CorekitError
from tests.projects.mobileclip.reinforced_shards import uid_of
from tests.projects.mobileclip.test_generate import (
    PREPROCESS,
    picture,
    read,
    reinforce,
    write_open_clip,
    write_source,
)
from tests.projects.mobileclip.test_online import teacher

CPU = torch.device("cpu")
UIDS = ["a", "b", "c"]
LINES = ["one dog", "two cats", "a green car", "a tree", "a house on a hill", "the sea"]


def pictures() -> list[Image.Image]:
    return [picture(number) for number in range(3)]


def test_the_nucleus_holds_what_reaches_top_p() -> None:
    shares = torch.tensor([[0.1, 0.5, 0.25, 0.15], [0.25, 0.25, 0.25, 0.25]], dtype=torch.float64)
    assert (nucleus(shares, 0.7) > 0).tolist() == [[False, True, True, False],
                                                   [True, True, True, False]]
    assert (nucleus(shares, 0.5) > 0).sum(1).tolist() == [1, 2]
    assert (nucleus(shares, 1e-9, 3) > 0).sum(1).tolist() == [3, 3]
    assert torch.equal(nucleus(shares, 1.0), shares)
    from transformers.generation.logits_process import TopPLogitsWarper

    logits = torch.randn(50, 100, dtype=torch.float64,
                         generator=torch.Generator().manual_seed(0)) * 3
    theirs = TopPLogitsWarper(0.9)(torch.zeros(50, 1), logits)  # type: ignore[arg-type]
    assert torch.equal(nucleus(logits.softmax(1), 0.9) > 0, theirs > -torch.inf)


@pytest.fixture(scope="module", name="coca")
def coca_fixture(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    folder = tmp_path_factory.mktemp("coca") / "model"
    return f"local-dir:{folder}", write_open_clip(folder, coca=True)


def test_coca_draws_what_open_clip_draws_from_the_same_numbers(
        coca: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    name, model = coca
    captioner = CoCa(name, length=11, top_p=0.8)
    ours, preprocess = captioner._load(CPU)
    pixels = preprocess.normalize(torch.stack([preprocess.crop(image) for image in pictures()]))
    seeds = [11, 12, 13]
    tokens = captioner._write(ours, pixels, 1, seeds)
    numbers = torch.stack([
        torch.rand(11, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for seed in seeds
    ])
    step = iter(range(1, 11))

    # of the rows that go on, which are all of them
    def multinomial(shares: Tensor, count: int) -> Tensor:
        assert (len(shares), count) == (3, 1)
        return (shares.double().cumsum(1)
                <= numbers[:, next(step), None] * shares.double().sum(1, keepdim=True)).sum(
                    1, keepdim=True)

    # open_clip generates with transformers' version 4 alone; what this kind of generation takes of
    # it is in version 5 too.
    from open_clip import coca_model
    from transformers.generation import logits_process, stopping_criteria

    for place in (logits_process, stopping_criteria):
        for name in ("LogitsProcessorList", "MinLengthLogitsProcessor",
                     "RepetitionPenaltyLogitsProcessor", "TopPLogitsWarper", "MaxLengthCriteria",
                     "StoppingCriteriaList"):
            if hasattr(place, name):
                monkeypatch.setattr(coca_model, name, getattr(place, name), raising=False)
    monkeypatch.setattr(coca_model, "GENERATION_TYPES", {"top_p": logits_process.TopPLogitsWarper},
                        raising=False)
    monkeypatch.setattr(coca_model, "_has_transformers", True)
    monkeypatch.setattr(torch, "multinomial", multinomial)
    wanted = model.generate(pixels, generation_type="top_p", top_p=0.8, seq_len=11, min_seq_len=5)
    assert torch.equal(tokens, wanted)
    assert len({tuple(row) for row in tokens.tolist()}) == 3


def test_coca_captions_do_not_depend_on_the_batch_and_end_at_a_full_stop(
        coca: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    captioner = CoCa(coca[0], length=7)
    images = pictures()
    together = captioner.captions(images, UIDS, 2, 7, 64, CPU)
    assert [len(captions) for captions in together] == [2, 2, 2]
    assert together[1:] == captioner.captions(images[1:], UIDS[1:], 2, 7, 2, CPU), "one at a time"
    assert together[:1] != captioner.captions(images[:1], UIDS[:1], 2, 8, 64, CPU)
    assert len({caption for captions in together for caption in captions}) == 6
    monkeypatch.setattr("corekit_projects.mobileclip.captioners.ClipTokenizer.decode",
                        lambda *_: " a dog . and a cat . ")
    assert captioner.captions(images[:1], UIDS[:1], 2, 7, 64, CPU) == [["a dog", "a dog"]]


@pytest.fixture(scope="module", name="model")
def model_fixture(tmp_path_factory: pytest.TempPathFactory) -> str:
    return teacher(tmp_path_factory.mktemp("model") / "m", PREPROCESS[0], 8, 12)


@pytest.fixture(name="candidates")
def candidates_fixture(tmp_path: Path) -> str:
    (tmp_path / "captions.txt").write_text("\n".join([*LINES, "", LINES[0], "  "]),
                                           encoding="utf-8")
    return str(tmp_path / "captions.txt")


def test_nearest_captions_are_drawn_as_their_similarity_says(model: str, candidates: str) -> None:
    loaded, preprocess, tokenize = corekit.load(model)
    image, count = picture(0), 600
    with torch.no_grad():
        similarity = (
            loaded.encode_image(preprocess(image)[None], normalize=True)  # type: ignore[operator]
            @ loaded.encode_text(tokenize(LINES),
                                 normalize=True).T)[0].double()  # type: ignore[operator]
    scale = 2.0 / float(similarity.max() - similarity.min())
    shares = (scale * similarity).softmax(0)
    captioner = NearestCaptions(model, candidates, scale=scale, top_p=1.0)
    uids = [str(index) for index in range(count)]
    drawn = captioner.captions([image] * count, uids, 1, 3, 600, CPU)
    counts = Counter(caption for (caption,) in drawn)
    for line, share in zip(LINES, shares.tolist()):
        assert abs(counts[line] / count - share) < 4 * (share * (1 - share) / count) ** 0.5, line
    alone = captioner.captions([image], ["17"], 1, 3, 5, CPU)[0]
    assert alone == drawn[17], "the batch it is in changes nothing"
    likeliest = [LINES[index] for index in shares.argsort(descending=True)[:2].tolist()]
    few = NearestCaptions(model, candidates, scale=scale, top_p=1e-6)
    assert set(few.captions([image], ["a"], 2, 3, 5,
                            CPU)[0]) == set(likeliest), "as many as are asked for, all different"
    assert sorted(captioner.captions([image], ["a"], 6, 3, 5, CPU)[0]) == sorted(LINES)


def test_a_captioners_words_are_stored_and_read_by_the_teachers(model: str, candidates: str,
                                                                tmp_path: Path) -> None:
    source = write_source(tmp_path / "in", [[0, 1]])
    captioner = {"name": "nearest_captions", "path": model, "candidates": candidates, "scale": 5.0}
    reinforce(source, tmp_path / "out", [model], captioner=captioner, augmentations=1)
    stored = [
        json.loads(members["syn.json"])["syn_text"] for members in read(tmp_path / "out").values()
    ]
    direct = NearestCaptions(model, candidates, scale=5.0)
    assert stored == [
        direct.captions([picture(number)], [uid_of(number)], 2, 5, 4, CPU)[0] for number in (0, 1)
    ]


def test_what_cannot_be_had_is_told(model: str, candidates: str, tmp_path: Path) -> None:
    with pytest.raises(CorekitError, match="holds 6 different captions, and 7 are to be drawn"):
        NearestCaptions(model, candidates).identity(7)
    with pytest.raises(CorekitError, match="candidates=nothing cannot be read"):
        NearestCaptions(model, "nothing").identity(1)
    with pytest.raises(CorekitError, match="top_p must be above 0"):
        NearestCaptions(model, candidates, top_p=0)
    with pytest.raises(CorekitError, match="length above 5"):
        CoCa("coca_ViT-B-32", "x", length=5)
    with pytest.raises(CorekitError, match="nothing says how"):
        CoCa("coca_base", str(tmp_path)).identity(1)
    write_open_clip(tmp_path / "plain")
    with pytest.raises(CorekitError, match="is no CoCa"):
        CoCa(f"local-dir:{tmp_path / 'plain'}").captions(pictures(), UIDS, 1, 0, 4, CPU)
