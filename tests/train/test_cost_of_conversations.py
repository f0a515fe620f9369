"""A dry run's memory and numbers of parameters are those of a real step of conversations; what does
not fit together is told then.
"""

import pytest
import torch
from torch import Tensor, nn

from corekit.errors import CorekitError
from corekit.losses.answer_tokens import AnswerTokens
from corekit.train.cost import Cost
from tests.plain import compose, cost_of, dry_run, model_of

pytest.importorskip("transformers")

SAMPLES, LENGTH, PICTURE = 4, 256, 25
RECIPE = ["+recipe=aimv2/multimodal_quickstart", f"engine.micro_batch={SAMPLES}",
          f"engine.batch_size={4 * SAMPLES}", f"data.tokenizer.context_length={LENGTH}"]
LLAMA, LAYERS, RANK = {"q_proj": (128, 128), "k_proj": (128, 128), "v_proj": (128, 128),
                       "o_proj": (128, 128), "gate_proj": (128, 352), "up_proj": (128, 352),
                       "down_proj": (352, 128)}, 3, 4


def real_bytes(model: nn.Module) -> tuple[int, int]:
    """Of weights with all that belongs to them, and of what one micro-batch keeps."""
    torch.manual_seed(0)
    ids = torch.randint(3, 100, (SAMPLES, LENGTH))
    ids[:, 5:5 + PICTURE] = -1
    mask = (torch.rand(SAMPLES, LENGTH) < 0.2) & (ids >= 0)
    inputs = {"pictures": torch.randn(SAMPLES, 3, 70, 70),
              "picture_offsets": torch.arange(SAMPLES + 1), "conversation": ids.flatten(),
              "conversation_offsets": torch.arange(0, (SAMPLES + 1) * LENGTH, LENGTH)}
    kept: dict[int, tuple[Tensor, int]] = {}
    own = {value.untyped_storage().data_ptr() for value in model.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = tensor, storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = model(**inputs)["text_logits"]
    activations = sum(size for _, size in kept.values())
    AnswerTokens()(logits, ids.flatten(), mask.flatten()).backward()
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    optimizer.step()
    tensors = [*model.parameters(), *(value.grad for value in trained if value.grad is not None),
               *(value for state in optimizer.state.values() for value in state.values())]
    return sum(value.nbytes for value in tensors), activations


@pytest.mark.parametrize("words", [
    [], ["model.packed=true"], ["model.frozen=[encoder]"],
    ["+model.lora.language_model.rank=4", "model.frozen=[encoder]"],
])
def test_a_dry_run_tells_the_memory_of_a_step(words: list[str]) -> None:
    recipe = compose(*RECIPE, *words)
    cost: Cost = cost_of(recipe)
    weights, activations = real_bytes(model_of(recipe, device="cpu"))
    assert cost.weights == pytest.approx(weights, rel=0.01)
    assert cost.activations == pytest.approx(activations, rel=0.1)


def test_lora_frozen_and_full_train_what_the_arithmetic_says() -> None:
    full, frozen, lora = (cost_of(compose(*RECIPE, *words)) for words in (
        [], ["model.frozen=[encoder]"],
        ["model.frozen=[encoder]", f"+model.lora.language_model.rank={RANK}"]))
    connector = 128 * 128 + 128 + 128 * 128 + 128
    words, norms = 256 * 128, LAYERS * 2 * 128 + 128
    llama = LAYERS * sum(inputs * outputs for inputs, outputs in LLAMA.values())
    adapters = LAYERS * sum(RANK * (inputs + outputs) for inputs, outputs in LLAMA.values())
    assert frozen.trained == connector + words + norms + llama
    assert lora.trained == connector + adapters
    assert lora.parameters == full.parameters + adapters
    last_norm = 128  # of the encoder: nothing that is trained goes through it
    encoder = full.parameters - frozen.trained
    assert full.trained == frozen.trained + encoder - last_norm


@pytest.mark.parametrize(("words", "message"), [
    (["data.tokenizer.name=clip_bpe", "~data.tokenizer.picture_tokens"],
     "need a tokenizer that has a chat template"),
    (["data.tokenizer.picture_tokens=26"], "set data.tokenizer.picture_tokens=25"),
    (["data.tokenizer.context_length=512"], "set data.tokenizer.context_length=256"),
    (["model.shuffle=2"], "must divide the side of their grid"),
])
def test_what_does_not_fit_is_told_by_a_dry_run(words: list[str], message: str) -> None:
    recipe = compose("+recipe=aimv2/multimodal_quickstart", *words)
    with pytest.raises(CorekitError, match=message):
        dry_run(recipe)
