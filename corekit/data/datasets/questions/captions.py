"""The forms of benchmarks that ask for captions."""

from collections import defaultdict

from corekit.data.datasets.questions.annotations import AnnotationFiles, Item, Question, Questions


def coco_captions(files: AnnotationFiles, split: str) -> Questions:
    """dataset_coco.json: COCO's captions in the splits of Karpathy and Fei-Fei (2015).

    That of training has what they call restval, too.
    """
    items = files.json("dataset_coco.json", "annotations/dataset_coco.json")["images"]
    splits = ("train", "restval") if split == "train" else (split,)
    return Questions([Question((f"{item['filepath']}/{item['filename']}",), "",
                               tuple(each["raw"] for each in item["sentences"]), item["cocoid"])
                      for item in items if item["split"] in splits])


def nocaps(files: AnnotationFiles, split: str) -> Questions:
    """NoCaps' nocaps_val_4500_captions.json, or nocaps_test_image_info.json, by domain."""
    name = {"val": "nocaps_val_4500_captions", "test": "nocaps_test_image_info"}.get(split, split)
    content = files.json(f"{name}.json", f"annotations/{name}.json")
    captions: dict[int, list[str]] = defaultdict(list)
    for item in content.get("annotations", ()):
        captions[item["image_id"]].append(item["caption"])
    return Questions([Question((item["file_name"],), "", tuple(captions[item["id"]]), item["id"],
                               item.get("domain", "")) for item in content["images"]],
                     [f"{split}/", f"images/{split}/", "images/", ""])


def textcaps(files: AnnotationFiles, split: str) -> Questions:
    """TextCaps_0.1_SPLIT.json, which has an item for each caption."""
    items: dict[str, Item] = {}
    for item in files.json(f"TextCaps_0.1_{split}.json")["data"]:
        items.setdefault(item["image_id"], item)
    folder = "test_images/" if split == "test" else "train_images/"
    return Questions([Question((f"{number}.jpg",), "", tuple(item.get("reference_strs") or ()),
                               number) for number, item in items.items()],
                     [folder, f"images/{folder}"])
