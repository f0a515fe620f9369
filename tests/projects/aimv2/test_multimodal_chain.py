"""From pre-training to conversations, questions, captions and transformers' Llava by the README's
commands, on one rank and on two.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from corekit.data.datasets.openmoji.dataset import OpenMoji
from tests.conftest import losses, records, succeeded

pytest.importorskip("transformers")

QUESTION = "which object is shown?"
STEPS = ("engine.batch_size=8", "engine.micro_batch=4", "data.streams=4", "data.workers=1",
         "schedule.warmup_steps=1", "log.every_steps=1", "checkpoint.every_steps=null")
PRETRAINING = ("corekit-train", "+recipe=aimv2/quickstart", *STEPS, "engine.steps=2",
               "~evaluators.attentive_probe", "~evaluators.patch_pictures",
               "run_dir=runs/pretrained")
TRAINING = ("corekit-train", "+recipe=aimv2/multimodal_quickstart", *STEPS, "engine.steps=3",
            "init.parts.encoder.path=runs/pretrained", "evaluators.questions.dataset.samples=4",
            "evaluators.questions.batch_size=8")


def answers(run: Path) -> list[dict[str, Any]]:
    """Those of the newest evaluation of a run."""
    return records(sorted(run.glob("evaluations/questions/*/answers.jsonl"))[-1])


def test_from_an_encoder_to_the_same_words_in_transformers(tmp_path: Path) -> None:
    succeeded(tmp_path, *PRETRAINING)
    for ranks in (1, 2):
        output = succeeded(tmp_path, *TRAINING, f"run_dir=runs/talk{ranks}", ranks=ranks)
        assert "encoder starts from encoder.*" in output
        assert "questions: " in output
    one, two = tmp_path / "runs/talk1", tmp_path / "runs/talk2"
    assert losses(two) == pytest.approx(losses(one), rel=1e-6)
    before = answers(one)
    for ranks in (1, 2):
        succeeded(tmp_path, "corekit-eval", "checkpoint=runs/talk1", ranks=ranks)
        assert answers(one) == before
    picture = tmp_path / "scene.png"
    OpenMoji(1, size=80).decode(0)["image"].save(picture)
    succeeded(tmp_path, "corekit", "predict", "runs/talk1", picture.name, "--out", "said",
              "--ask", QUESTION)
    said = json.loads((tmp_path / "said" / f"{picture.stem}.json").read_text())
    succeeded(tmp_path, "corekit", "convert", "runs/talk1", "llava", "--to", "transformers")
    assert llava_answer(tmp_path / "llava", picture) == said["answers"][0]["answer"]
    succeeded(tmp_path, "corekit", "convert", "llava", "back")
    succeeded(tmp_path, "corekit", "predict", "back", picture.name, "--out", "again", "--ask",
              QUESTION)
    again = json.loads((tmp_path / "again" / f"{picture.stem}.json").read_text())
    assert again["answers"] == said["answers"]


def llava_answer(folder: Path, picture: Path) -> str:
    """What transformers answers with a folder alone."""
    from PIL import Image
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    processor = AutoProcessor.from_pretrained(folder)
    model = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    content = [{"type": "image"}, {"type": "text", "text": f"\n{QUESTION}"}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}],
                                           add_generation_prompt=True)
    with Image.open(picture) as image:
        inputs = processor(images=image.convert("RGB"), text=prompt, return_tensors="pt",
                           add_special_tokens=False)
    words = model.generate(**inputs, max_new_tokens=16, do_sample=False)
    answer = words[0, inputs["input_ids"].shape[1]:]
    return str(processor.decode(answer, skip_special_tokens=True)).strip()
