"""Every benchmark's group of recipes/evaluation evaluates the files that it is published in."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from corekit import registry
from corekit.data.tokenizers.chat import ChatTokenizer
from tests.data.datasets.questions import benchmarks
from tests.evaluation.generation.naming import Naming, chat_tokenizer, naming_model

pytest.importorskip("transformers")

FOLDER = Path(__file__).parents[3] / "recipes" / "evaluation"
CAPTIONS = {"cider", "bleu1", "bleu2", "bleu3", "bleu4", "rouge_l"}
BENCHMARKS: dict[str, tuple[Callable[[Path], None], set[str], int, str]] = {
    "vqav2": (benchmarks.write_vqa, {"vqa_accuracy"}, 16, "word or phrase."),
    "okvqa": (lambda root: benchmarks.write_vqa(root, ""), {"vqa_accuracy"}, 16, "or phrase."),
    "textvqa": (benchmarks.write_textvqa, {"vqa_accuracy"}, 16, "single word or phrase."),
    "gqa": (benchmarks.write_gqa, {"exact_match"}, 16, "single word or phrase."),
    "docvqa": (benchmarks.write_docvqa, {"anls"}, 32, "single word or phrase."),
    "infovqa": (benchmarks.write_docvqa, {"anls"}, 32, "single word or phrase."),
    "chartqa": (benchmarks.write_chartqa, {"relaxed_accuracy"}, 16, "with a single word."),
    "scienceqa": (benchmarks.write_scienceqa, {"accuracy"}, 16, "given choices directly."),
    "mme": (benchmarks.write_mme, {"mme_perception"}, 16, "single word or phrase."),
    "seed": (benchmarks.write_seed, {"accuracy"}, 16, "given choices directly."),
    "coco_captions": (benchmarks.write_captions, CAPTIONS, 64, "Describe the image briefly."),
    "nocaps": (benchmarks.write_captions, CAPTIONS, 64, "for the provided image."),
    "textcaps": (benchmarks.write_captions, CAPTIONS, 64, "for the provided image."),
}
SUBMISSIONS: dict[str, set[str]] = {
    "chartqa": set(), "scienceqa": set(), "mme": {"count.txt", "posters.txt"},
    "seed": {"submission.jsonl"}}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    return chat_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_group(name: str, tmp_path: Path, tokenizer: ChatTokenizer) -> None:
    """Its figures, its prompt, the length of its answers, and the form they are handed in."""
    write, figures, tokens, prompt = BENCHMARKS[name]
    write(tmp_path)
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    arguments = yaml.safe_load(text.replace("${data.root}", str(tmp_path)))[name]
    model = Naming(tokenizer)
    evaluator = registry.build("evaluator", arguments.pop("name"), arguments)
    result = evaluator(naming_model(model, tokenizer))
    assert set(result.metrics) == figures
    assert result.unreadable == 0
    assert result.details["decoding"]["max_new_tokens"] == tokens
    assert f"{prompt}<|im_end|>" in model.prompts[0][0]
    files = SUBMISSIONS.get(name, {"submission.json"})
    assert set(result.files) == {"answers.jsonl"} | files
