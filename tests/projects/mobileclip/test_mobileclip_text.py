"""S0's text tower against its formulas, written out branch by branch in double precision."""

import math
from collections.abc import Callable

import torch
from corekit_projects.mobileclip.text import HybridTextTransformer
from torch import Tensor, nn

State = dict[str, Tensor]
HEADS, LAYERS, WIDTH = 4, 2, 32


def part(state: State, prefix: str) -> State:
    return {
        key.removeprefix(prefix): value
        for key, value in state.items() if key.startswith(prefix)
    }


def batch_norm(x: Tensor, norm: State) -> Tensor:
    return (x - norm["running_mean"]) / (norm["running_var"] +
                                         1e-5).sqrt() * norm["weight"] + norm["bias"]


def layer_norm(x: Tensor, norm: State) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) +
                      1e-5).sqrt() * norm["weight"] + norm["bias"]


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def depthwise(x: Tensor, weight: Tensor) -> Tensor:
    """y[t] = sum over k of w[k] x[t + k - 5], tokens outside being 0."""
    length = x.shape[1]
    padded = torch.cat([x.new_zeros(x.shape[0], 5, WIDTH), x,
                        x.new_zeros(x.shape[0], 5, WIDTH)],
                       dim=1)
    return sum((padded[:, k:k + length] * weight[:, 0, 0, k] for k in range(11)),
               torch.zeros_like(x))


def rep_mixer_block(x: Tensor, state: State) -> Tensor:
    mixer, norm = part(state, "token_mixer.mixer."), part(state, "token_mixer.norm.identity.")
    mixed = batch_norm(depthwise(x, mixer["conv_kxk.0.conv.weight"]), part(mixer, "conv_kxk.0.bn."))
    mixed = mixed + batch_norm(x, part(mixer, "identity."))
    x = x + state["token_mixer.layer_scale.gamma"].flatten() * (mixed - batch_norm(x, norm))
    hidden = batch_norm(depthwise(x, state["mlp.conv.conv.weight"]), part(state, "mlp.conv.bn."))
    hidden = gelu(hidden @ state["mlp.fc1.weight"].flatten(1).T + state["mlp.fc1.bias"])
    update = hidden @ state["mlp.fc2.weight"].flatten(1).T + state["mlp.fc2.bias"]
    return x + state["layer_scale.gamma"].flatten() * update


def transformer_block(x: Tensor, state: State) -> Tensor:
    projected = layer_norm(x, part(state,
                                   "norm1.")) @ state["attn.qkv.weight"].T + state["attn.qkv.bias"]
    query, key, value = projected.split(WIDTH, dim=-1)
    size = WIDTH // HEADS
    heads = []
    for head in range(HEADS):
        columns = slice(head * size, (head + 1) * size)
        scores = query[..., columns] @ key[..., columns].transpose(1, 2) / math.sqrt(size)
        heads.append(scores.softmax(-1) @ value[..., columns])
    x = x + torch.cat(heads, -1) @ state["attn.proj.weight"].T + state["attn.proj.bias"]
    hidden = gelu(
        layer_norm(x, part(state, "norm2.")) @ state["mlp.fc1.weight"].T + state["mlp.fc1.bias"])
    return x + hidden @ state["mlp.fc2.weight"].T + state["mlp.fc2.bias"]


def tower() -> HybridTextTransformer:
    torch.manual_seed(0)
    return HybridTextTransformer(WIDTH,
                                 HEADS,
                                 LAYERS,
                                 embed_dim=16,
                                 context_length=20,
                                 vocab_size=60)


def captions() -> Tensor:
    text = torch.zeros(2, 20, dtype=torch.long)
    text[0, :6] = torch.tensor([58, 7, 8, 30, 31, 59])
    text[1, :3] = torch.tensor([58, 3, 59])
    return text


def test_hybrid_tower_equals_its_formulas(randomize: Callable[[nn.Module], None]) -> None:
    model = tower().eval()
    randomize(model)
    state = {key: value.double() for key, value in model.state_dict().items()}
    text = captions()
    x = state["token_embedding.weight"][text] + state["positional_embedding"]
    for index in range(LAYERS + 2):
        block = part(state, f"transformer.resblocks.{index}.")
        x = rep_mixer_block(x, block) if index in (0, LAYERS + 1) else transformer_block(x, block)
    pooled = layer_norm(torch.stack([x[0, 5], x[1, 2]]), part(state, "ln_final."))
    expected = pooled @ state["text_projection"]
    assert (expected[0] - expected[1]).abs().max() > 0.1
    error = (model(text) - expected).abs().max() / expected.abs().max()
    assert error < 1e-5


def test_tokens_after_the_end_are_seen(randomize: Callable[[nn.Module], None]) -> None:
    model = tower().eval()
    randomize(model)
    other = captions()
    other[0, 19] = 5  # 14 tokens behind the end: out of reach of one convolution, not of attention
    assert (model(captions())[0] - model(other)[0]).abs().max() > 1e-4


def test_training_normalises_by_all_tokens_of_the_batch() -> None:
    model = tower().train()
    text = captions()
    model(text)
    x = model.token_embedding(text) + model.positional_embedding
    norm = model.transformer.resblocks[0].token_mixer.norm.identity
    torch.testing.assert_close(norm.running_mean, 0.1 * x.mean((0, 1)))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * x.flatten(0, 1).var(0))
