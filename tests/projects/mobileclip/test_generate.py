"""Reinforced shards are what they say: torchvision's draws, and what each teacher says of just that
picture and caption.
"""

import io
import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from corekit_projects.mobileclip.embeddings import decode_embeddings, encode_embeddings
from corekit_projects.mobileclip.generate import Reinforce
from corekit_projects.mobileclip.reinforced import Reinforced
from corekit_projects.mobileclip.replay import OPERATIONS, Replay, parse_augmentation
from corekit_projects.mobileclip.stored_augmentations import BINS, draw_augmentation, magnitude_of
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose, InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as F
from torchvision.transforms.autoaugment import RandAugment, _apply_op

import corekit
from corekit import CorekitError
from corekit.data.datasets.base import BadSampleError
from corekit.data.jobs.driver import Progress, run_job
from corekit.data.jobs.manifest import Manifest
from corekit.data.shards.indexing import load_index
from corekit.data.transforms.preprocess import Preprocess
from corekit.seeds import derive_seed
from tests.projects.mobileclip.conftest import randomize
from tests.projects.mobileclip.reinforced_shards import uid_of, write_tar
from tests.projects.mobileclip.test_online import teacher

STORED = ("random_resized_crop", "rand_augment")
SMALL, LARGE = 32, 48  # the first teacher's size is the stored one
PLAIN = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
PREPROCESS = [
    Preprocess(SMALL, "bilinear", *PLAIN),
    Preprocess(LARGE, "bicubic", (0.48, 0.45, 0.4), (0.26, 0.25, 0.27))
]
A, S, WIDTHS = 3, 2, (8, 12)
ARGUMENTS = {
    "captions": S, "augmentations": A, "image_size": SMALL, "precision": "fp32", "seed": 5,
    "batch_size": 4
}


def picture(number: int) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((66 - number, 50 + number), Image.Resampling.BICUBIC)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def members_of(number: int) -> dict[str, bytes]:
    return {
        "png": png(picture(number)), "txt": f"one dog and {number} cats".encode(),
        "syn.json": json.dumps({"syn_text": [f"{number} cats", f"a dog {number}",
                                             "a third"]}).encode(),
        "json": json.dumps({"uid": uid_of(number)}).encode()
    }


def write_source(folder: Path, shards: list[list[int]]) -> str:
    for shard, numbers in enumerate(shards):
        write_tar(folder / f"{shard:05d}.tar",
                  ((uid_of(number), members_of(number)) for number in numbers))
    return str(folder)


@pytest.fixture(scope="module", name="teachers")
def teachers_fixture(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("teachers")
    return [teacher(folder / str(index), preprocess, width, 9 + 7 * index)
            for index, (preprocess, width) in enumerate(zip(PREPROCESS, WIDTHS))]


@pytest.fixture(scope="module", name="source")
def source_fixture(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_source(tmp_path_factory.mktemp("source"), [list(range(7)), list(range(7, 12))])


@pytest.fixture(scope="module", name="written")
def written_fixture(source: str, teachers: list[str],
                    tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reinforced") / "out"
    assert reinforce(source, folder, teachers).complete
    return folder


def reinforce(source: str, out: Path, teachers: list[Any], **arguments: Any) -> Progress:
    return run_job("reinforce", {**ARGUMENTS, "teachers": teachers, **arguments}, source, out)


def read(folder: Path) -> dict[str, dict[str, bytes]]:
    """uid -> members."""
    index = load_index(folder)
    return {raw.key: dict(raw.members) for shard in range(len(index))
            for raw in index.read_samples(shard, 0, int(index.samples[shard]))}


def embeddings(members: dict[str, bytes]) -> dict[str, Tensor]:
    return decode_embeddings(members, "here")


def torchvisions(size: int, **more: Any) -> Compose:
    return Compose(
        [RandomResizedCrop(size, interpolation=InterpolationMode.BICUBIC),
         RandAugment(**more)])


def test_every_row_is_what_its_teacher_says_of_just_that_picture_and_caption(
        written: Path, teachers: list[str]) -> None:
    """In 2 shards and batches of 4 over 3 augmentations: no batch holds whole samples alone."""
    samples = read(written)
    assert list(samples) == [uid_of(number) for number in range(12)]
    pictures: tuple[list[Tensor], list[Tensor]] = [], []
    captions: list[str] = []
    for number in range(12):
        members = samples[uid_of(number)]
        assert set(members) == {"paug.json", "syn.json", "npz"}
        synthetic = json.loads(members["syn.json"])["syn_text"]
        assert synthetic == [f"{number} cats", f"a dog {number}"]
        captions += [f"one dog and {number} cats", *synthetic]
        for index, entry in enumerate(json.loads(members["paug.json"])["param_aug"]):
            torch.manual_seed(derive_seed(5, "augmentation", uid_of(number), index))
            # the very picture that torchvision makes
            pictures[0].append(F.pil_to_tensor(torchvisions(SMALL)(picture(number))))
            pictures[1].append(Replay(Preprocess(LARGE, "bicubic", *PLAIN), SMALL).replay(
                picture(number), parse_augmentation(entry, STORED, "here")))
    rows = [embeddings(members) for members in samples.values()]
    assert all((each["image_emb"].shape, each["text_emb"].shape) == ((A, 20), (1 + S, 20))
               for each in rows)
    for path, pixels, part in zip(teachers, pictures, (slice(0, 8), slice(8, 20))):
        model, preprocess, tokenize = corekit.load(path)
        for name, wanted in (("image_emb", say_of_pictures(model, preprocess, torch.stack(pixels))),
                             ("text_emb", say_of_texts(model, tokenize, captions))):
            actual = torch.cat([each[name] for each in rows])[:, part]
            assert torch.allclose(actual, wanted, atol=2e-6), name
            assert torch.allclose(actual.norm(dim=1), torch.ones(36),
                                  atol=1e-5), "of unit length for each teacher"
            assert torch.pdist(actual).min() > 1e-4, "no two are alike"


@torch.no_grad()
def say_of_pictures(model: Any, preprocess: Preprocess, pixels: Tensor) -> Tensor:
    features: Tensor = model.encode_image(preprocess.normalize(pixels), normalize=True)
    return features


@torch.no_grad()
def say_of_texts(model: Any, tokenize: Any, texts: list[str]) -> Tensor:
    features: Tensor = model.encode_text(tokenize(texts), normalize=True)
    return features


def test_shards_batches_and_neighbours_change_nothing_but_rounding(written: Path,
                                                                   teachers: list[str],
                                                                   tmp_path: Path) -> None:
    source = write_source(tmp_path / "in", [[11, 3], [5, 0, 8, 1, 10, 2, 9], [4, 7, 6]])
    reinforce(source, tmp_path / "out", teachers, batch_size=50)
    wanted, actual = read(written), read(tmp_path / "out")
    assert set(actual) == set(wanted)
    for uid, members in actual.items():
        assert members["paug.json"] == wanted[uid]["paug.json"]
        for name, rows in embeddings(members).items():
            assert torch.allclose(rows, embeddings(wanted[uid])[name], atol=2e-6)


def test_another_seed_draws_other_augmentations(written: Path, teachers: list[str], source: str,
                                                tmp_path: Path) -> None:
    reinforce(source, tmp_path / "out", teachers[:1], seed=6, augmentations=1)
    entries = [[
        json.loads(members["paug.json"])["param_aug"][0] for members in read(folder).values()
    ] for folder in (written, tmp_path / "out")]
    assert all(one != other for one, other in zip(*entries))
    assert len({json.dumps(entry) for both in entries for entry in both}) == 24


@pytest.mark.parametrize(("precision", "keep"), [("fp32", False), ("bf16", True), ("int8", False)])
def test_what_was_written_is_read_as_the_teachers_said_it(teachers: list[str], tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch,
                                                          precision: str, keep: bool) -> None:
    """By the data set, joined or in one folder, and the picture replayed is the one that the
    teacher saw.
    """
    source, folders = write_source(tmp_path / "in",
                                   [[0, 1, 2]]), [tmp_path / "once", tmp_path / "again"]
    for folder in folders:
        reinforce(source, folder, teachers[:1], precision=precision, keep=keep, augmentations=2)
        monkeypatch.setattr(time, "time", lambda: 2e9)
    assert (folders[0] /
            "00000.tar").read_bytes() == (folders[1] /
                                          "00000.tar").read_bytes(), "whatever the clock says"
    data = Reinforced(str(folders[0])) if keep else Reinforced(source, str(folders[0]))
    assert data.shard_sizes.tolist() == [3]
    model, preprocess, tokenize = corekit.load(teachers[0])
    error = {"fp32": 2e-6, "bf16": 2**-8, "int8": 0.5 / 127}[precision]
    largest = 0.0
    for handle in data.read(0, 0, 3):
        sample = data.decode(handle)
        pixels = Replay(Preprocess(SMALL, "bicubic", *PLAIN), SMALL).replay(sample["image"],
                                                                     sample["augmentation"])
        real, synthetic = say_of_texts(model, tokenize, [sample["text"], sample["synthetic_text"]])
        for name, wanted in (("image", say_of_pictures(model, preprocess, pixels[None])[0]),
                             ("text", real), ("synthetic_text", synthetic)):
            largest = max(largest, float((sample[f"teacher_{name}_features"] - wanted).abs().max()))
    assert largest < error
    assert precision == "fp32" or largest > error / 100, "it is stored in fewer bits indeed"


def test_stored_numbers_take_four_two_and_one_byte() -> None:
    rows = {"image_emb": torch.nn.functional.normalize(torch.randn(30, 1536), dim=1),
            "text_emb": torch.nn.functional.normalize(torch.randn(6, 1536), dim=1)}
    sizes = {
        precision: len(encode_embeddings(rows, precision)[1])
        for precision in ("fp32", "bf16", "int8")
    }  # type: ignore[arg-type]
    assert 36 * 1536 * 4 < sizes["fp32"] < 36 * 1536 * 4 + 1000
    assert sizes["bf16"] < 36 * 1536 * 2 + 2000
    assert 36 * 1536 + 36 * 4 < sizes["int8"] < 36 * 1536 + 36 * 4 + 1500
    extension, content = encode_embeddings(rows, "int8")
    for name, values in embeddings({extension: content}).items():
        steps = values.abs().amax(1, keepdim=True) / 127
        assert bool(((values - rows[name]).abs() <= steps * 0.501).all())
    assert set(np.load(
        io.BytesIO(content))) == {"image_emb", "image_emb_scale", "text_emb", "text_emb_scale"}
    zeros = encode_embeddings({"image_emb": torch.zeros(1, 4)}, "int8")
    assert embeddings(dict([zeros]))["image_emb"].tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize(
    "scale", [None, np.ones(3, np.float32),
              np.ones((2, 1), np.float32),
              np.ones(2, np.int64)])
def test_int8_rows_without_a_scale_each_are_a_bad_sample(scale: np.ndarray | None) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, image_emb=np.ones((2, 4), np.int8),
             **({} if scale is None else {"image_emb_scale": scale}))  # type: ignore[arg-type]
    with pytest.raises(BadSampleError) as caught:
        embeddings({"npz": buffer.getvalue()})
    assert caught.value.kind == "embeddings"


def test_magnitudes_are_torchvisions() -> None:
    for size in (32, 224, 256):
        space = RandAugment()._augmentation_space(BINS, (size, size))
        for name, (values, signed) in space.items():
            for magnitude in range(BINS):
                wanted = float(values[magnitude]) if values.ndim else 0.0
                assert magnitude_of(name, size,
                                    magnitude) == (wanted, signed), (name, size, magnitude)


def test_draws_are_torchvisions_and_leave_its_generator_alone(
        monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[Any]] = []

    def watched(image: Any, name: str, magnitude: float, **more: Any) -> Any:
        drawn.append([OPERATIONS.index(name), magnitude])
        return _apply_op(image, name, magnitude, **more)

    monkeypatch.setattr("torchvision.transforms.autoaugment._apply_op", watched)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for number in range(20):
        drawn.clear()
        augmentation = draw_augmentation(picture(number), 3, "abc", number, 64, (0.3, 0.9),
                                         (0.5, 1.5), 3, 20)
        assert torch.equal(torch.get_rng_state(), before)
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(3, "augmentation", "abc", number))
            crops = RandomResizedCrop(64, (0.3, 0.9), (0.5, 1.5), InterpolationMode.BICUBIC)
            wanted = Compose([crops, RandAugment(3, 20)])(picture(number))
        assert augmentation[1] == drawn
        stored = parse_augmentation(json.loads(json.dumps(augmentation)), STORED, "here")
        replayed = Replay(Preprocess(64, "bicubic", *PLAIN), 64).replay(picture(number), stored)
        assert torch.equal(replayed, F.pil_to_tensor(wanted))


def test_bad_samples_are_counted_by_kind_and_left_out(teachers: list[str], tmp_path: Path) -> None:
    def changed(number: int, **members: bytes | None) -> tuple[str, dict[str, bytes]]:
        present = {
            **members_of(number),
            **{name.replace("_", "."): content for name, content in members.items()}
        }
        return uid_of(number), {
            name: content for name, content in present.items() if content is not None
        }

    samples = [
        changed(0),
        changed(1, png=None),
        changed(2, png=members_of(2)["png"][:300]),
        changed(3, png=b"no"),
        changed(4, txt=None),
        changed(5, txt=b"  "),
        changed(6, txt=b"\xff"),
        changed(7, syn_json=None),
        changed(8, syn_json=b"[]"),
        changed(9, syn_json=b'{"syn_text": ["a"]}'),
        changed(10, syn_json=b'{"syn_text": ["a", ""]}'),
        changed(11),
        changed(0)
    ]
    write_tar(tmp_path / "in" / "0.tar", samples)
    progress = reinforce(str(tmp_path / "in"), tmp_path / "out", teachers[:1])
    assert list(read(tmp_path / "out")) == [uid_of(0), uid_of(11)]
    assert progress.bad == {
        "missing_field": 3, "image": 2, "empty_text": 2, "encoding": 1, "synthetic_text": 2,
        "duplicate": 1
    }
    assert Manifest.load(tmp_path / "out" / "manifest.json").shards[0].bad == progress.bad


def test_uids_may_stand_in_the_json_of_the_source(teachers: list[str], written: Path,
                                                  tmp_path: Path) -> None:
    numbers = [4, 9]
    write_tar(tmp_path / "in" / "0.tar", [
        *((f"{index:09d}", members_of(number)) for index, number in enumerate(numbers)),
        ("x", {**members_of(3), "json": b'{"uid": "a/b"}'}),
        ("y", {name: content for name, content in members_of(2).items() if name != "json"})
    ])
    progress = reinforce(str(tmp_path / "in"), tmp_path / "out", teachers, uid="json")
    assert progress.bad == {"uid": 2}
    actual, wanted = read(tmp_path / "out"), read(written)
    assert [members["paug.json"] for members in actual.values()
            ] == [wanted[uid_of(number)]["paug.json"] for number in numbers]
    assert Reinforced(str(tmp_path / "in"), str(tmp_path / "out"),
                      uid="json").shard_sizes.tolist() == [2]


def test_the_manifest_says_who_the_teachers_were(written: Path, teachers: list[str],
                                                 source: str) -> None:
    made_by = Manifest.load(written / "manifest.json").made_by
    assert [each["name"] for each in made_by["teachers"]] == teachers
    assert len({each["sha256"]["model.safetensors"] for each in made_by["teachers"]}) == 2
    assert made_by["versions"]["torch"] == version("torch")
    assert made_by["arguments"]["augmentations"] == A
    with pytest.raises(CorekitError, match="arguments.seed was 5, is 6"):
        reinforce(source, written, teachers, seed=6)


def write_open_clip(folder: Path, coca: bool = False, preprocess: bool = True) -> Any:
    """A small open_clip model in a folder as open_clip's own hub has them."""
    import open_clip
    from safetensors.torch import save_file

    config: dict[str, Any] = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}, "text_cfg": {
            "context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1
        }
    }
    if coca:
        config["vision_cfg"] |= {
            "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True
        }
        config["text_cfg"] |= {"embed_cls": True, "output_tokens": True}
        config |= {
            "multimodal_cfg": {**config["text_cfg"], "attn_pooler_heads": 2}, "custom_text": True
        }
        del config["multimodal_cfg"]["embed_cls"], config["multimodal_cfg"]["output_tokens"]
    folder.mkdir()
    wants = {
        "size": 32, "mode": "RGB", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4],
        "interpolation": "bilinear", "resize_mode": "shortest"
    }
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, **({"preprocess_cfg": wants} if preprocess else {})}))
    model = open_clip.create_model(f"local-dir:{folder}")
    randomize(model)  # open_clip leaves a projection of its CoCa as memory happens to be
    save_file({name: value.contiguous() for name, value in model.state_dict().items()},
              folder / "open_clip_model.safetensors")
    return model.eval()


def test_open_clips_models_teach_with_their_own_preprocessing_and_tokenizer(
        source: str, tmp_path: Path) -> None:
    import open_clip

    model = write_open_clip(tmp_path / "peer")
    name = f"local-dir:{tmp_path / 'peer'}"
    reinforce(source, tmp_path / "out", [{"name": "open_clip", "model": name}], augmentations=1)
    normalize = open_clip.image_transform(32, is_train=False, mean=(0.5, 0.4, 0.3),
                                          std=(0.2, 0.3, 0.4), interpolation="bilinear")
    for number, members in enumerate(read(tmp_path / "out").values()):
        torch.manual_seed(derive_seed(5, "augmentation", uid_of(number), 0))
        with torch.no_grad():
            image = model.encode_image(
                normalize(torchvisions(32)(picture(number)))[None], normalize=True)
            text = model.encode_text(
                open_clip.get_tokenizer(name)([f"one dog and {number} cats"]), normalize=True)
        assert torch.allclose(embeddings(members)["image_emb"], image, atol=2e-6)
        assert torch.allclose(embeddings(members)["text_emb"][:1], text, atol=2e-6)


def test_what_cannot_teach_is_said_before_anything_is_written(
        source: str, teachers: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_open_clip(tmp_path / "plain", preprocess=False)
    unknown = tmp_path / "unknown"
    unknown.mkdir()
    for name in ("model.safetensors", "recipe.yaml"):
        (unknown / name).symlink_to(Path(teachers[0]) / name)
    weights = str(tmp_path / "plain" / "open_clip_model.safetensors")

    def peer(**arguments: Any) -> dict[str, Any]:
        return {"name": "open_clip", **arguments}

    sizes = {"size": 224, "interpolation": "bicubic", "mean": [0, 0, 0], "std": [1, 1, 1]}
    nobody = peer(model="ViT-B-32", pretrained="nobody", preprocess=sizes)
    for wrong, message in (
            ("nothing", "does not exist"),
            (str(unknown), "preprocess.json is not a preprocessing"),
            (peer(model=f"local-dir:{tmp_path / 'plain'}"),
             "nothing says how open_clip's local-dir.*give preprocess"),
            (peer(model="ViT-H-14", pretrained=weights), "nothing says how open_clip's ViT-H-14"),
            (peer(model="ViT-B-32"), "nothing says how|has no weights"),
            (nobody, "nobody cannot be had"),
            (peer(model="ViT-B-32", preprocess={"size": [224, 200]}), "cannot be used"),
            (peer(modle="ViT-B-32"), "'modle' is not an argument it takes"),
            ({"name": "openclip"}, "did you mean 'open_clip'")):
        with pytest.raises(CorekitError, match=message):
            reinforce(source, tmp_path / "out", [teachers[0], wrong])
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("arguments", "message"), [
    ({"teachers": []}, "needs teachers"),
    ({"captions": 0}, "captions must be between 1"),
    ({"magnitude": 31}, "between 0 and 30"),
    ({"uid": "keys"}, "'uid' takes Literal"),
    ({"scale": [0.9, 0.1]}, "smallest and a largest"),
    ({"captioner": "coca"}, "captioner.name=coca"),
    ({"precision": "fp8"}, "'precision' takes Literal"),
])
def test_arguments_are_checked(teachers: list[str], source: str, tmp_path: Path,
                               arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CorekitError, match=message):
        reinforce(source, tmp_path / "out", **{"teachers": teachers, **arguments})


def test_models_without_a_text_tower_or_with_two_spaces_cannot_teach(
        teachers: list[str], source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from corekit_projects.mobileclip.teachers import Teacher

    class Apart(torch.nn.Module):
        def encode_image(self, image: Tensor, normalize: bool = True) -> Tensor:
            return image.mean((2, 3))

        def encode_text(self, text: Tensor, normalize: bool = True) -> Tensor:
            return text[:, :4].float()

    job = Reinforce(teachers, **{**ARGUMENTS, "augmentations": 1})  # type: ignore[arg-type]
    def load(_: object) -> Teacher:
        return Teacher("apart", Apart(), PREPROCESS[0], corekit.load(teachers[0])[2])

    monkeypatch.setattr("corekit_projects.mobileclip.teachers.FolderTeacher.load", load)
    with pytest.raises(CorekitError, match="apart gives pictures 3 and captions 4 numbers"):
        list(job.process(iter(load_index(source).read_samples(0, 0, 2)), lambda error: None))
    with pytest.raises(CorekitError, match="without image and text features"):
        Teacher("blind", torch.nn.Linear(2, 2), PREPROCESS[0], None)
