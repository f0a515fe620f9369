"""Every recipe, found by listing: it composes, dry-runs as it is, and a shrunken copy of it trains
two steps.

There are no exceptions. A model or a data set that the tables below do not know fails; a model too
large for a test takes arguments that make it smaller, as MobileCLIP's take ``width_divisor`` and
``depth_divisor``, and stands here with
them.
"""

import json
import math
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from corekit import registry
from corekit.checkpoint.initial.init_from import start_from
from corekit.checkpoint.model_folder import save_model_folder
from corekit.data.conversations.formats import as_notes
from corekit.data.conversations.messages import Message
from corekit.data.datasets.openmoji.dataset import OpenMoji
from corekit.data.datasets.openmoji.questions import OpenMojiQuestions
from corekit.data.shards.writer import write_shards
from corekit.optim import loss_scale as precision
from corekit.recipes.find import recipe_names
from tests.conftest import records
from tests.data.tokenizers.unigram_file import write_unigram
from tests.data.tokenizers.wordpiece_file import write_wordpieces
from tests.plain import dry_run, model_of, preprocess_of, sampler_of, train
from tests.projects.mobileclip.reinforced_shards import write_together
from tests.projects.recipe_tables import composed_recipe as composed

PIXELS = 64
CONCEPTS = 10
# divides numbers of blocks: two layers are left of twelve, to be computed again where a recipe asks
# for it
DEPTH = 6


def small(*names: str, width: int, **arguments: Any) -> dict[str, dict[str, Any]]:
    return {name: {"width_divisor": width, "depth_divisor": DEPTH, **arguments} for name in names}


# the arguments that fit a model to PIXELS, and make it small where it is large
MODELS: dict[str, dict[str, Any]] = {
    "mobileclip_nano": {},
    **small("mobileclip_s0", "mobileclip_s1", "mobileclip2_s0", width=16),
    **small("mobileclip_s2", "mobileclip2_s2", width=20),
    **small("mobileclip_s3", "mobileclip2_s3", width=24),
    **small("mobileclip_s4", "mobileclip2_s4", width=32),
    **small("clip_vit_b16", "mobileclip_b", "mobileclip_b_lt", "mobileclip2_b", width=24,
            image_size=PIXELS),
    **small("mobileclip_l14", "mobileclip2_l14", width=32, image_size=PIXELS),
    "catlip_vit_nano": {"num_classes": CONCEPTS},
    "catlip_clip_nano": {},
    "catlip_mask_rcnn_nano": {"num_classes": CONCEPTS},
    "catlip_deeplabv3_nano": {"num_classes": CONCEPTS + 1},
    "catlip_referring_nano": {},
    "aimv2_mm_grounding_dino_nano": {},
    **small("catlip_vit_b16", width=12, image_size=PIXELS, num_classes=CONCEPTS),
    **small("catlip_vit_l16", width=16, image_size=PIXELS, num_classes=CONCEPTS),
    **small("catlip_vit_h16", width=20, image_size=PIXELS, num_classes=CONCEPTS),
    **small("catlip_clip_vit_b16", width=24, image_size=PIXELS),
    **small("catlip_mask_rcnn_b16", width=12, image_size=PIXELS, num_classes=CONCEPTS),
    **small("catlip_mask_rcnn_l16", width=16, image_size=PIXELS, num_classes=CONCEPTS),
    **small("catlip_mask_rcnn_h16", width=20, image_size=PIXELS, num_classes=CONCEPTS),
    **small("catlip_deeplabv3_b16", width=12, image_size=PIXELS),
    **small("catlip_deeplabv3_l16", width=16, image_size=PIXELS),
    **small("catlip_deeplabv3_h16", width=20, image_size=PIXELS),
    **small("aimv2_vitdet_mask_rcnn_large", width=16, num_classes=CONCEPTS),
    **small("aimv2_mm_grounding_dino_large", width=16, queries=20, vocab_size=1040),
    # the same divisors, because some start from, or learn from, runs of others
    **small("aimv2_pretrain", "aimv1_pretrain", "aimv2_large_lit", width=16),
    **small("aimv2_student", width=16, teacher_width=3072 // 16),
    "token_teacher": {},
    "multimodal": {"encoder_model": {"name": "aimv2_nano"}, "language_model": {
        "model_type": "llama", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 128}},
}
TEACHER = 6  # width of a teacher's features
DATASETS: dict[str, dict[str, Any]] = {
    "openmoji": {"samples": 32, "concepts": CONCEPTS},
    "openmoji_referring": {"samples": 32, "concepts": CONCEPTS},
    "openmoji_questions": {"samples": 32, "concepts": CONCEPTS},
    "conversations": {"annotations": "conversations.json"},
    "webdataset": {"shards": "*.tar"},
    "reinforced": {},
    "coco_labels": {},
    "coco_instances": {},
    "refcoco": {},
    "ade20k": {},
    "mixture": {},
    "mined_labels": {"vocabulary": "openmoji", "size": CONCEPTS},
}
# at PIXELS its map is a pixel wide, so the batch norm behind it takes a constant out again
NO_GRADIENT = ("image_tower.stages.3.blocks.0.mlp.fc2.bias",)
MOST_PARAMETERS = 9_000_000  # of a shrunken copy: two steps and a checkpoint in a second
SHRUNKEN: dict[str, dict[str, Any]] = {
    "data": {"workers": 0, "streams": 2, "window": 4},
    "engine": {"steps": 2, "batch_size": 4, "micro_batch": 2, "device": "cpu"},
    "log": {"every_steps": 1}, "checkpoint": {"every_steps": None},
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where the data sets find shards: those with teachers' embeddings have captions of every
    captioner.
    """
    folders = {name: tmp_path_factory.mktemp(name)
               for name in ("webdataset", "reinforced", "coco_labels", "ade20k", "conversations")}
    folders["coco_instances"] = folders["refcoco"] = folders["coco_labels"]
    drawn = OpenMoji(32, split="validation", size=72, concepts=CONCEPTS, objects=(1, 1),
                     annotations=True)
    write_shards(drawn, folders["webdataset"])
    for split in ("train2017", "val2017"):
        write_coco(folders["coco_labels"], split, [drawn.decode(number) for number in range(8)],
                   drawn.class_names)
    for split in ("train", "val"):
        write_refcoco(folders["refcoco"], split, [drawn.decode(number) for number in range(8)])
    for split in ("training", "validation"):
        write_ade20k(folders["ade20k"], split, [drawn.decode(number) for number in range(8)])
    write_conversations(folders["conversations"], OpenMojiQuestions(8, concepts=CONCEPTS))
    write_together(folders["reinforced"], [list(range(16))], version=2, width=2 * TEACHER,
                   captioners=("syn_text", "syn_text_dfn_mscoco38k"))
    write_unigram(folders["webdataset"] / "letters.model")
    write_wordpieces(folders["webdataset"] / "vocab.txt")
    return folders


def write_coco(root: Path, split: str, samples: list[dict[str, Any]], names: list[str]) -> None:
    """Pictures in COCO's layout, with numbers of categories that are not their places, as COCO's
    are not.
    """
    (root / split).mkdir()
    for number, sample in enumerate(samples):
        sample["image"].save(root / split / f"{number}.jpg")
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(
        json.dumps({
            "images": [{"id": number + 50, "file_name": f"{number}.jpg", "height": 72, "width": 72}
                       for number in range(len(samples))],
            "categories": [{"id": 3 * place + 1, "name": name} for place, name in enumerate(names)],
            "annotations": [{
                "id": number + 1, "image_id": number + 50, "iscrowd": 0,
                "category_id": 3 * sample["label"] + 1, **outline(*sample["boxes"][0].tolist())
            } for number, sample in enumerate(samples)]
        }))


def write_refcoco(root: Path, split: str, samples: list[dict[str, Any]]) -> None:
    """Phrases in MDETR's layout, one a picture."""
    (root / "train2014").mkdir(exist_ok=True)
    for number, sample in enumerate(samples):
        sample["image"].save(root / "train2014" / f"{number}.jpg")
    (root / "annotations" / f"finetune_refcoco_{split}.json").write_text(
        json.dumps({
            "images": [{"id": number, "file_name": f"{number}.jpg", "height": 72, "width": 72,
                        "caption": "the left one"} for number in range(len(samples))],
            "categories": [{"id": 1, "name": "object"}],
            "annotations": [{"id": number, "image_id": number, "category_id": 1, "iscrowd": 0,
                             **outline(*sample["boxes"][0].tolist())}
                            for number, sample in enumerate(samples)]
        }))


def outline(left: float, top: float, right: float, bottom: float) -> dict[str, Any]:
    """A box as COCO has it, which the object fills."""
    width, height = right - left, bottom - top
    return {"bbox": [left, top, width, height], "area": width * height,
            "segmentation": [[left, top, right, top, right, bottom, left, bottom]]}


def write_conversations(root: Path, source: OpenMojiQuestions) -> None:
    """Questions about drawn scenes, and about none, in LLaVA's layout."""
    items: list[dict[str, object]] = [as_notes([Message("user", "how many?"),
                                                Message("assistant", "one")])]
    for number in source.read(0, 0, 8):
        sample = source.decode(number)
        sample["pictures"][0].save(root / f"{number}.jpg")
        items.append({"image": f"{number}.jpg", **as_notes(sample["conversation"])})
    (root / "conversations.json").write_text(json.dumps(items))


def write_ade20k(root: Path, split: str, samples: list[dict[str, Any]]) -> None:
    """Pictures and maps in ADE20k's layout, whose first class is 1."""
    for number, sample in enumerate(samples, 1):
        name = f"{split}/ADE_{split[:3]}"
        for folder, picture, end in (("images", sample["image"], "jpg"),
                                     ("annotations", sample["segmentation"] + 1, "png")):
            path = root / folder / f"{name}_{number:08d}.{end}"
            path.parent.mkdir(parents=True, exist_ok=True)
            (Image.fromarray(picture) if end == "png" else picture).save(path)


@pytest.fixture(autouse=True)
def _lower_loss_scale(monkeypatch: pytest.MonkeyPatch, determinism_restored: None) -> None:
    """Two steps are too few to find fp16's loss scale."""
    monkeypatch.setattr(precision, "FIRST_SCALE", 256.0)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_dry_runs_as_it_is(name: str, caplog: pytest.LogCaptureFixture) -> None:
    recipe = {**deepcopy(composed(name)), "dry_run": True}
    caplog.set_level("INFO", "corekit")
    dry_run(recipe)
    output = caplog.text
    model, engine, sampler = model_of(recipe), recipe["engine"], sampler_of(recipe)
    assert f"{sum(value.numel() for value in model.parameters()):,} parameters" in output
    seen = recipe["data"]["streams"] * sampler.draws(engine["steps"]).start
    assert f"{engine['steps']:,} steps, {seen:,} samples seen" in output


@pytest.mark.parametrize("name", recipe_names())
def test_a_shrunken_copy_trains_all_its_parameters(name: str, shards: dict[str, Path],
                                                   tmp_path: Path) -> None:
    recipe = shrink({**deepcopy(composed(name)), "run_dir": str(tmp_path)}, shards)
    size = sum(value.numel() for value in model_of(recipe).parameters())
    advice = (f"give {recipe['model']['name']} an argument that makes it smaller, and a place in "
              "MODELS")
    assert size < MOST_PARAMETERS, advice
    before, init = model_of(recipe, "cpu"), recipe["init"]
    if init["path"]:  # another recipe's run
        init["path"] = str(
            left_behind(init["path"], shards, tmp_path / "start") / "model.safetensors")
        if init["head"]:
            init["head_arguments"] = {"vocabulary": "openmoji", "size": CONCEPTS,
                                      "classes": str(shards["webdataset"] / "classnames.txt")}
        start_from(before, init["path"], init["exclude"], init["rename"])
    for label, node in recipe["frozen"].items():
        node["path"] = str(left_behind(node["path"], shards, tmp_path / label))
    train(recipe)

    steps = records(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in steps] == [1, 2]
    assert all(math.isfinite(line["loss"]) for line in steps)
    evaluated = {line["evaluator"]: line["step"]
                 for line in records(tmp_path / "evaluations.jsonl")}
    assert evaluated == dict.fromkeys(recipe["evaluators"], 2)
    assert len(records_of_head(tmp_path)) == (CONCEPTS if recipe["init"]["head"] else
                                              0), "a line for every class"
    trained = load_file(tmp_path / "model" / "model.safetensors")
    still = [
        key for key, value in before.named_parameters()
        if value.requires_grad and torch.equal(value, trained[key]) and key not in NO_GRADIENT
    ]
    assert not still, "no loss depends on these"
    assert all(value.isfinite().all() for value in trained.values())


def left_behind(run: str, shards: Mapping[str, Path], folder: Path) -> Path:
    """The model folder of a recipe's run, ``runs/<recipe>``, shrunken and hardly trained."""
    recipe = shrink(deepcopy(composed(run.removeprefix("runs/"))), shards)
    weights = model_of(recipe, "cpu").state_dict()
    save_model_folder(folder, {name: value + 0.01 for name, value in weights.items()}, recipe,
                      preprocess_of(recipe))
    return folder


def shrink(recipe: dict[str, Any], shards: Mapping[str, Path]) -> dict[str, Any]:
    """The recipe with small models and data, and nothing that moves a parameter but its
    gradient.
    """
    for section, values in SHRUNKEN.items():
        recipe[section].update(values)
    recipe["data"]["preprocess"]["size"] = PIXELS
    if "shortest" in recipe["data"]["transform"] and "referring" in recipe["evaluators"]:
        # its coarsest map, at stride 64, then has more than one cell to normalise
        recipe["data"]["transform"].update(shortest=2 * PIXELS, longest=4 * PIXELS)
        recipe["evaluators"]["referring"]["size"] = 2 * PIXELS
    if "largest" in recipe["sampler"]:
        recipe["sampler"].update(smallest=PIXELS // 2, largest=PIXELS)
    if "exponents" in recipe["sampler"]:
        recipe["sampler"]["exponents"] = [1.0, 4.0]
    for node in (recipe["model"], *recipe["frozen"].values()):
        node = node.get("model", node)  # the one that another goes around
        assert node["name"] in MODELS, f"add {node['name']} to MODELS"
        node.update(MODELS[node["name"]])
    for node in datasets(recipe):
        assert node["name"] in DATASETS, f"add {node['name']} to DATASETS"
        node.update(DATASETS[node["name"]])
        if node["name"] in shards:
            node["root"] = str(shards[node["name"]])
        if "synthetic_text" in node.get("fields", {}):
            node["fields"]["synthetic_text"] = "txt"
    tokenizer = recipe["data"]["tokenizer"]
    if file := {"sentencepiece": "letters.model", "bert_wordpiece": "vocab.txt"}.get(
            tokenizer.get("name")):
        tokenizer["path"] = str(shards["webdataset"] / file)
    if recipe["model"]["name"] == "multimodal":
        recipe["data"]["tokenizer"] = {"name": "openmoji_chat", "concepts": CONCEPTS}
        recipe["data"]["preprocess"]["size"] = 70  # of its small encoder
    if "teacher_widths" in recipe["loss"]:
        recipe["loss"]["teacher_widths"] = [TEACHER] * len(recipe["loss"]["teacher_widths"])
    for section, key, value in (("schedule", "warmup_steps", 1), ("optimizer", "weight_decay", 0.0),
                                ("engine", "ema_decay", 0.5), ("engine", "compile", False)):
        if recipe[section].get(key) is not None:
            recipe[section][key] = value
    return recipe


def datasets(node: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every data set that a recipe names, those of its evaluators among them."""
    known = registry.names("dataset")
    for value in node.values():
        if isinstance(value, dict):
            if value.get("name") in known:
                yield value
            yield from datasets(value)


def records_of_head(run: Path) -> list[str]:
    return (run / "head.tsv").read_text().splitlines()[1:] if (run / "head.tsv").is_file() else []
