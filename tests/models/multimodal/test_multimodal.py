"""An encoder inside a language model: how samples are laid out changes nothing that counts."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from corekit import registry
from corekit.data.conversations.messages import Message
from corekit.data.tokenizers.chat import ChatTokenizer
from corekit.errors import CorekitError
from corekit.losses.answer_tokens import AnswerTokens
from corekit.models.layer_list import all_layers
from corekit.models.multimodal.language_model import PACKED, language_model
from corekit.models.multimodal.multimodal import Multimodal
from tests.language_models import small_llama, write_tokenizer

pytest.importorskip("transformers")

USER, ASSISTANT = "user", "assistant"
CONVERSATIONS = [
    ([Message("user", "which object? <image>"), Message("assistant", "an apple")], 1),
    ([Message("user", "hello there, what is it?"), Message("assistant", "two red apples")], 0),
    ([Message("user", "a <image> b <image> c"), Message("assistant", "x"),
      Message("user", "how many"), Message("assistant", "why not")], 2),
]
Batch = dict[str, Tensor]
GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128}


def small_opt() -> dict[str, object]:
    return {"model_type": "opt", "hidden_size": 64, "ffn_dim": 96, "word_embed_proj_dim": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 300}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    folder = write_tokenizer(tmp_path_factory.mktemp("chatml"))
    return ChatTokenizer(str(folder), context_length=200, picture_tokens=25)


def build(seed: int = 0, **arguments: object) -> Multimodal:
    torch.manual_seed(seed)
    entry = {"encoder_model": {"name": "aimv2_nano"}, "language_model": small_llama(), **arguments}
    model: Multimodal = registry.build("model", "multimodal", entry)
    return model.eval()


def batch_of(tokenizer: ChatTokenizer, chosen: list[int], answers: bool = True) -> Batch:
    """Some of the conversations as a batch, with pictures that are a function of their number."""
    pictures, ids, masks = [torch.empty(0, 3, 70, 70, dtype=torch.float64)], [], []
    counts = [0]
    for number in chosen:
        messages, count = CONVERSATIONS[number]
        generator = torch.Generator().manual_seed(number)
        pictures.append(torch.randn(count, 3, 70, 70, generator=generator, dtype=torch.float64))
        counts.append(count)
        if answers:
            encoded = tokenizer.encode(messages, [1] * count)
            ids.append(encoded.ids)
            masks.append(encoded.target_mask)
        else:
            ids.append(tokenizer.prompt(messages[:-1], [1] * count))
            masks.append(torch.zeros(len(ids[-1]), dtype=torch.bool))
    return {"pictures": torch.cat(pictures), "picture_offsets": torch.tensor(counts).cumsum(0),
            "conversation": torch.cat(ids), "target_mask": torch.cat(masks),
            "conversation_offsets": torch.tensor([0, *map(len, ids)]).cumsum(0)}


def summed(model: Multimodal, batch: Batch) -> Tensor:
    inputs = {name: value for name, value in batch.items() if name != "target_mask"}
    logits = model(**inputs)["text_logits"]
    return AnswerTokens()(logits, batch["conversation"], batch["target_mask"])


@pytest.mark.parametrize("arguments", [{}, {"shuffle": 5}, {"layer": -2, "connector": "linear"}])
def test_packed_padded_and_single_samples_have_the_same_loss(tokenizer: ChatTokenizer,
                                                             arguments: dict[str, object]) -> None:
    model = build(**arguments).double()
    tokenizer = ChatTokenizer(tokenizer.path, 200, 25 if arguments.get("shuffle", 1) == 1 else 1)
    batch = batch_of(tokenizer, [0, 1, 2])
    together = summed(model, batch)
    model.packed = True
    torch.testing.assert_close(summed(model, batch), together, rtol=1e-12, atol=0)
    model.packed = False
    alone = [summed(model, batch_of(tokenizer, [number])) for number in range(3)]
    torch.testing.assert_close(torch.stack(alone).sum(), together, rtol=1e-12, atol=0)


@pytest.mark.parametrize("model_type", sorted(PACKED))
def test_any_language_model_has_the_logits_that_transformers_has(model_type: str) -> None:
    torch.manual_seed(0)
    more = GPT2 if model_type == "gpt2" else {"head_dim": 16, "pad_token_id": 0}
    model = language_model({**small_llama(), "model_type": model_type, **more}).eval().double()
    rows = torch.randn(2, 11, 64, dtype=torch.float64)
    expected = model(inputs_embeds=rows, use_cache=False).logits
    multimodal = build().eval()
    multimodal.language_model = model
    for table, position in ((rows, None), (rows.view(1, 22, 64), torch.arange(11).repeat(2)[None])):
        hidden = multimodal._decoded(table, position).view(2, 11, 64)
        logits = multimodal.head(hidden, factors=True).dense()
        torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)


def test_gradients_of_packed_and_padded_rows_are_the_same(tokenizer: ChatTokenizer) -> None:
    gradients = []
    for packed in (False, True):
        model = build(packed=packed).double()
        summed(model, batch_of(tokenizer, [2, 1, 0])).backward()
        gradients.append([value.grad for value in model.parameters() if value.grad is not None])
    for padded, packed_one in zip(*gradients, strict=True):
        torch.testing.assert_close(padded, packed_one, rtol=1e-9, atol=1e-12)


def test_the_loss_sees_the_picture_and_the_words_before(tokenizer: ChatTokenizer) -> None:
    model = build().double()
    batch = batch_of(tokenizer, [0, 2])
    before = model(**{name: value for name, value in batch.items() if name != "target_mask"})
    changed = {**batch, "pictures": batch["pictures"].clone()}
    changed["pictures"][2] += 1  # the second picture of the second sample
    after = model(**{name: value for name, value in changed.items() if name != "target_mask"})
    same = (before["text_logits"].hidden == after["text_logits"].hidden).all(1)
    place = (batch["conversation"] == -1).nonzero()[2 * 25, 0]  # where that picture begins
    assert same[:place + 1].all()
    assert not same[place + 1:].any()


@pytest.mark.parametrize("arguments", [{}, {"packed": True}])
def test_text_alone_runs_the_encoder_and_does_not_train_it(tokenizer: ChatTokenizer,
                                                           arguments: dict[str, object]) -> None:
    model = build(**arguments).double()
    summed(model, batch_of(tokenizer, [1])).backward()
    gradient = model.encoder.get_submodule("patch_embed.proj").weight.grad
    assert isinstance(gradient, Tensor)
    assert not gradient.any()
    assert model.words.weight.grad.any()


def test_a_conversation_that_was_cut_takes_its_first_pictures(tokenizer: ChatTokenizer) -> None:
    model = build().double()
    two = [Message("user", "a <image>"), Message("assistant", "x"), Message("user", "b <image>"),
           Message("assistant", "y")]
    short = ChatTokenizer(tokenizer.path, 60, 25)
    encoded = short.encode(two, [1, 1])
    assert (encoded.ids == -1).sum() == 25
    pictures = torch.randn(3, 3, 70, 70, dtype=torch.float64)
    other, _ = CONVERSATIONS[0]
    second = tokenizer.encode(other, [1])
    ids = torch.cat([encoded.ids, second.ids])
    offsets = torch.tensor([0, len(encoded.ids), len(ids)])
    both = model(pictures, torch.tensor([0, 2, 3]), ids, offsets)["text_logits"].hidden
    alone = model(pictures[2:], torch.tensor([0, 1]), second.ids,
                  torch.tensor([0, len(second.ids)]))["text_logits"].hidden
    torch.testing.assert_close(both[len(encoded.ids) + 1:], alone[1:], rtol=1e-10, atol=1e-12)


def test_generation_in_batches_is_teacher_forcing_greedily_followed(
        tokenizer: ChatTokenizer) -> None:
    model = build().double()
    batch = batch_of(tokenizer, [0, 1, 2], answers=False)
    batch.pop("target_mask")
    answers = model.generate(**batch, max_new_tokens=6, end_tokens=tokenizer.end_tokens)
    offsets = batch["conversation_offsets"].tolist()
    tiles = batch["picture_offsets"].tolist()
    for number, (first, last) in enumerate(pairwise(offsets)):
        ids = torch.cat([batch["conversation"][first:last], torch.tensor(answers[number])])
        pictures = batch["pictures"][tiles[number]:tiles[number + 1]]
        logits = model(pictures, torch.tensor([0, len(pictures)]), ids,
                       torch.tensor([0, len(ids)]))["text_logits"].dense()
        assert logits[last - first:].argmax(1).tolist() == answers[number]


def test_an_answer_ends_at_its_end_token(tokenizer: ChatTokenizer) -> None:
    model = build()
    batch = batch_of(tokenizer, [0, 1], answers=False)
    batch.pop("target_mask")
    batch["pictures"] = batch["pictures"].float()
    free = model.generate(**batch, max_new_tokens=5, end_tokens={299})
    ended = model.generate(**batch, max_new_tokens=5, end_tokens={free[0][0]})
    assert ended[0] == free[0][:1]
    assert len(free[1]) == 5


@pytest.mark.parametrize(("name", "tokens"), [
    ("mobileclip_nano", 4), ("catlip_vit_b16", 16), ("clip_vit_b16", 16), ("aimv2_base_224", 16)])
def test_any_encoder_of_pictures_gives_tokens(name: str, tokens: int) -> None:
    narrow = {"width_divisor": 12, "depth_divisor": 6} if "nano" not in name else {}
    model = build(encoder_model={"name": name, **narrow}, norm=True)
    size = 56 if "aimv2" in name else 64
    pictures = torch.randn(2, 3, size, size)
    embedded = model.encode_pictures(pictures)
    assert embedded.shape == (2, tokens, 64)
    assert model.forward(pictures[:0], torch.tensor([0, 0]), torch.tensor([3, 4]),
                         torch.tensor([0, 2]))["text_logits"].hidden.shape == (2, 64)


def test_lora_trains_its_adapters_alone() -> None:
    pytest.importorskip("peft")
    model = build(lora={"language_model": {"rank": 4}})
    trained = [name for name, value in model.language_model.named_parameters()
               if value.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    llama = {"q_proj": (64, 64), "k_proj": (64, 32), "v_proj": (64, 32), "o_proj": (64, 64),
             "gate_proj": (64, 128), "up_proj": (64, 128), "down_proj": (128, 64)}
    expected = 3 * sum(4 * (inputs + outputs) for inputs, outputs in llama.values())
    count = sum(value.numel() for value in model.language_model.parameters() if value.requires_grad)
    assert count == expected
    assert all(value.requires_grad for value in model.connector.parameters())


def test_layers_of_both_towers_are_found() -> None:
    assert len(all_layers(build())) == 6 + 3
    assert len(all_layers(build(lora={"language_model": {"rank": 2}}))) == 6 + 3


@pytest.mark.parametrize(("arguments", "message"), [
    ({"language_model": "/nowhere"}, "model.language_model=/nowhere is neither a folder"),
    ({"language_model": {"model_type": "lama"}}, "is neither a folder"),
    ({"language_model": {"model_type": "llama", "hidden_size": "wide"}}, "is neither a folder"),
    ({"encoder_model": {"name": "mobileclip_nano"}}, "set model.layer=-1 model.norm=true"),
    ({"lora": {"connector": {"rank": 2}}}, "encoder and language_model"),
    ({"lora": {"language_model": {"targets": ["qproj"]}}}, "language_model has down_proj"),
    ({"layer": 7}, "layers 0 to 5"),
    ({"language_model": {"model_type": "cohere"}}, r"behind the output layer \(logit_scale 0.0625"),
    ({"language_model": {"model_type": "gemma2"}}, "final_logit_softcapping 30"),
    ({"packed": True, "language_model": small_opt()}, "not known to keep the samples of a row"),
])
def test_arguments_that_do_not_fit(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(CorekitError, match=message):
        build(**arguments).encode_pictures(torch.zeros(1, 3, 70, 70))


def test_a_file_is_read_and_no_code_of_it_is_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine"}}')
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(CorekitError, match="model.language_model"):
        build(language_model=str(tmp_path))
    assert not (tmp_path / "ran").exists()
