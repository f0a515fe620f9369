"""A model folder is whole: it loads where the places of its training recipe are not."""

import shutil
from pathlib import Path

import pytest
import torch

import corekit
from corekit.checkpoint.own_runs import config_beside
from corekit.checkpoint.training_state import Checkpoints, Counters
from corekit.data.conversations.messages import Message
from corekit.data.tokenizers.chat import ChatTokenizer
from corekit.data.transforms.preprocess import Preprocess
from corekit.distributed.process_group import ProcessGroup
from corekit.models.build import build_model
from corekit.recipes.build import run_config
from tests.language_models import small_llama, write_tokenizer

pytest.importorskip("transformers")

PREPROCESS = Preprocess(70, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CPU = torch.device("cpu")
QUESTION = [Message("user", "how many red apples?")]


def test_language_model_and_tokenizer_come_with_the_weights(tmp_path: Path) -> None:
    from transformers import AutoConfig

    language = write_tokenizer(tmp_path / "language")
    AutoConfig.for_model(**small_llama()).save_pretrained(language)
    recipe = {"model": {"name": "multimodal", "encoder_model": {"name": "aimv2_nano"},
                        "language_model": str(language)},
              "data": {"tokenizer": {"name": "chat", "path": str(language), "picture_tokens": 25}},
              "evaluators": {}}
    model = build_model(run_config(recipe).model, 0, CPU)
    tokenizer = ChatTokenizer(str(language), picture_tokens=25)
    checkpoints = Checkpoints(tmp_path / "run", 1, ProcessGroup(0, 1, CPU))
    checkpoints.save(model, torch.optim.SGD(model.parameters()), None, Counters(1),
                     run_config(recipe).to_plain(), PREPROCESS, {}, tokenizer)
    expected = tokenizer.prompt(QUESTION, [])
    shutil.copytree(tmp_path / "run/model", tmp_path / "elsewhere")
    shutil.rmtree(language)
    config = config_beside(tmp_path / "elsewhere").model
    assert config.arguments["language_model"]["hidden_size"] == 64
    loaded = corekit.load(tmp_path / "elsewhere")
    assert all(map(torch.equal, model.state_dict().values(), loaded.model.state_dict().values()))
    assert isinstance(loaded.tokenizer, ChatTokenizer)
    assert loaded.tokenizer.path == str(tmp_path / "elsewhere/tokenizer")
    assert loaded.tokenizer.picture_tokens == 25
    assert torch.equal(loaded.tokenizer.prompt(QUESTION, []), expected)
