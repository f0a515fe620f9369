"""An image encoder inside a causal language model, joined by a connector."""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from corekit.errors import CorekitError
from corekit.linear_output import LinearOutput
from corekit.models.dense.encoder import DenseEncoder, dense_encoder, maps_of
from corekit.models.multimodal import language_model as language_models
from corekit.models.multimodal.connector import Connector
from corekit.models.multimodal.language_model import PACKED, OutputLayer, add_lora
from corekit.models.multimodal.layout import Places, longest, padded, picture_rows
from corekit.registry import register

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Features(Protocol):
    """Of an encoder: tokens [B, N, D] of the last layer, and of chosen ones."""

    def __getitem__(self, name: str) -> Tensor: ...


@runtime_checkable
class LayeredEncoder(Protocol):
    """An encoder whose layers' tokens can be had before its last norm, as AIMv2's."""

    def features(self, image: Tensor, *, norm: bool, layers: Sequence[int] = ()) -> Features:
        """``tokens``, and ``layers``, those of chosen layers."""
        ...


@runtime_checkable
class Conversational(Protocol):
    """A model that reads pictures in conversations.

    ``most_positions`` is how many tokens a conversation may have; None: any number.
    """

    most_positions: int | None

    def encode_pictures(self, pictures: Tensor) -> Tensor:
        """Tiles [n, 3, S, S] in the place of words, [n, picture tokens, D]."""
        ...

    def generate(self, pictures: Tensor, picture_offsets: Tensor, conversation: Tensor,
                 conversation_offsets: Tensor, max_new_tokens: int,
                 end_tokens: Collection[int]) -> list[list[int]]:
        """The token ids of the answer that comes next in each conversation."""
        ...


@register("model", "multimodal")
class Multimodal(nn.Module):
    """A picture's tokens, by an encoder and a connector, in the place of words (Liu et al., 2023).

    Pictures and words are one causal sequence for the language model, which gives the next word.
    ``model.frozen`` names what is not trained (encoder, connector, language_model),
    ``optimizer.rate_factors`` what learns at another rate.

    Args:
        encoder_model: a model of pictures, {name: ...}; what only its own outputs need is left out.
        language_model: a folder of transformers whose config.json is read (its weights are those of
            ``init.parts.language_model``), or such a configuration, {model_type: llama, ...}.
        layer: the encoder's layer whose tokens are taken; -1: the last, -2: the one before it.
        norm: whether they go through the encoder's last norm. transformers' Llava takes them
            before it, so a model with it cannot be written for Llava.
        connector: mlp, two linear layers; or linear, one.
        shuffle: of a side of patches, how many become one token.
        lora: part (encoder, language_model) -> {rank, alpha, dropout, targets}: it is trained by
            low-rank adapters of its linear layers alone.
        packed: a micro-batch is one row without padding; for attention that skips what no token
            sees, as flash_attention_2 and flex_attention do.
        attention: the language model's, by transformers' names.

    Raises:
        CorekitError: a part does not take its arguments, or a library is missing.
    """

    towers = ("encoder", "language_model")

    def __init__(self, encoder_model: nn.Module, language_model: str | dict[str, object],
                 layer: int = -1, norm: bool = False, connector: Literal["mlp", "linear"] = "mlp",
                 shuffle: int = 1, lora: dict[str, dict[str, object]] | None = None,
                 packed: bool = False,
                 attention: Literal["sdpa", "eager", "flash_attention_2",
                                    "flex_attention"] = "sdpa") -> None:
        super().__init__()
        self.layer, self.norm, self.packed = layer, norm, packed
        self.encoder = dense_encoder(encoder_model)
        self.language_model: PreTrainedModel = language_models.language_model(language_model,
                                                                              attention)
        config = self.language_model.config
        if packed and config.model_type not in PACKED:
            raise CorekitError(f"model.packed=true is not known to keep the samples of a row apart "
                               f"in a {config.model_type}: set model.packed=false")
        self.most_positions: int | None = getattr(config, "max_position_embeddings", None)
        self._check_encoder()
        self.connector = Connector(self.dense.widths[-1], self.words.embedding_dim, connector,
                                   shuffle)
        for name, arguments in (lora or {}).items():
            self._add_lora(name, **arguments)  # type: ignore[arg-type]

    @property
    def dense(self) -> DenseEncoder:
        """The encoder, which gives maps."""
        return cast(DenseEncoder, self.encoder)

    @property
    def words(self) -> nn.Embedding:
        """The language model's table of words [K, D]."""
        return cast(nn.Embedding, self.language_model.get_input_embeddings())

    @property
    def head(self) -> OutputLayer:
        """The language model's output layer."""
        layer = self.language_model.get_output_embeddings()  # type: ignore[no-untyped-call]
        return cast(OutputLayer, layer)

    def portable(self) -> dict[str, object]:
        """The language model's configuration, in the place of the folder that it came from."""
        return {"language_model": language_models.portable_config(self.language_model.config)}

    def forward(self, pictures: Tensor, picture_offsets: Tensor, conversation: Tensor,
                conversation_offsets: Tensor) -> dict[str, LinearOutput]:
        """``text_logits``, of which row t is of token t, by the tokens before it.

        The first row of a conversation is of no use: nothing comes before its first token.

        Args:
            pictures: all tiles, [sum of t, 3, S, S]; there may be none.
            picture_offsets: int64 [B + 1], where each sample's tiles begin.
            conversation: int64 [T], the token ids of all samples, below 0 at a place of a picture.
            conversation_offsets: int64 [B + 1], where each sample's tokens begin.
        """
        places = Places.of(conversation, conversation_offsets)
        rows = self._embedded(pictures, picture_offsets, conversation, conversation_offsets, places)
        samples = len(conversation_offsets) - 1
        if self.packed:
            hidden = self._decoded(rows[None], places.position[None])[0]
        else:
            length = longest(conversation_offsets, len(conversation))
            table, index = padded(rows, places, samples, length)
            # padding stands behind all words, so a causal model needs no mask
            hidden = self._decoded(table, None).flatten(0, 1)[index]
        before = torch.cat([hidden[:1], hidden[:-1]])
        text_logits: LinearOutput = self.head(before, factors=True)
        return {"text_logits": text_logits}

    @torch.no_grad()
    def generate(self, pictures: Tensor, picture_offsets: Tensor, conversation: Tensor,
                 conversation_offsets: Tensor, max_new_tokens: int,
                 end_tokens: Collection[int]) -> list[list[int]]:
        """The most likely next words of each conversation, one after the other.

        Args:
            pictures, picture_offsets, conversation, conversation_offsets: as of ``forward``, up to
                the place where the answer begins.
            max_new_tokens: after which an answer is cut.
            end_tokens: ids that end an answer.

        Returns:
            the token ids of each answer, the end among them.
        """
        places = Places.of(conversation, conversation_offsets)
        rows = self._embedded(pictures, picture_offsets, conversation, conversation_offsets, places)
        samples, length = len(conversation_offsets) - 1, longest(conversation_offsets, len(rows))
        table, index = padded(rows, places, samples, length, True, conversation_offsets)
        mask = torch.zeros(samples * length, dtype=torch.int64, device=table.device)
        mask[index] = 1
        ends = sorted(end_tokens)
        generate = cast(Callable[..., Tensor], self.language_model.generate)
        output = generate(
            inputs_embeds=table, attention_mask=mask.view(samples, length), do_sample=False,
            max_new_tokens=max_new_tokens, eos_token_id=ends, pad_token_id=ends[0])
        return [_up_to_end(row, end_tokens) for row in output.tolist()]

    def encode_tokens(self, image: Tensor) -> Tensor:
        """The encoder's tokens of [B, 3, H, W], as the connector gets them: [B, N, D]."""
        if not isinstance(self.encoder, LayeredEncoder):
            return maps_of(self.encoder, image)[-1].flatten(2).transpose(1, 2)
        if self.layer == -1:
            return self.encoder.features(image, norm=self.norm)["tokens"]
        return self.encoder.features(image, norm=self.norm, layers=[self.layer])["layers"][0]

    def encode_pictures(self, pictures: Tensor) -> Tensor:
        """Tiles [n, 3, S, S] in the place of words, [n, picture tokens, D]."""
        embedded: Tensor = self.connector(self.encode_tokens(pictures))
        return embedded

    def _embedded(self, pictures: Tensor, picture_offsets: Tensor, conversation: Tensor,
                  offsets: Tensor, places: Places) -> Tensor:
        """What the language model reads, [T, D]."""
        words: Tensor = self.words(conversation.clamp(min=0))
        if not len(pictures):  # every rank runs every part, whatever its samples hold
            side = self.dense.strides[-1] * self.connector.shuffle
            pictures = words.new_zeros(1, 3, side, side)
        tokens = self.encode_pictures(pictures)
        rows = picture_rows(conversation, offsets, places.sample, picture_offsets, tokens.shape[1])
        rows = rows.clamp(0, tokens.shape[0] * tokens.shape[1] - 1)
        of_pictures = tokens.flatten(0, 1)[rows].to(words.dtype)
        return torch.where((conversation < 0)[:, None], of_pictures, words)

    def _decoded(self, rows: Tensor, position: Tensor | None) -> Tensor:
        """The language model's last layer of rows [B, L, D], after its norm.

        Where positions begin anew in a row, transformers takes it for several packed into one.
        """
        decoder: nn.Module = self.language_model.base_model
        # transformers reads values to find out which mask it needs, and meta tensors have none
        mask = rows.new_empty(1, 1, *2 * rows.shape[1:2]).bool() if rows.is_meta else None
        hidden: Tensor = decoder(inputs_embeds=rows, position_ids=position, attention_mask=mask,
                                 use_cache=False).last_hidden_state
        return hidden

    def _check_encoder(self) -> None:
        kind = type(self.encoder).__name__
        if isinstance(self.encoder, LayeredEncoder):
            last_norm = getattr(self.encoder, "norm", None)
            if isinstance(last_norm, nn.Module) and not self.norm:
                last_norm.requires_grad_(False)  # nothing that is trained goes through it
            return
        if self.layer != -1 or not self.norm:
            raise CorekitError(f"a {kind} gives the tokens of its last layer after its norm alone: "
                               "set model.layer=-1 model.norm=true")

    def _add_lora(self, name: str, rank: int = 16, alpha: int | None = None,
                  dropout: float = 0.0, targets: list[str] | None = None) -> None:
        if name not in self.towers:
            raise CorekitError(f"model.lora.{name}: the parts that can have adapters are "
                               f"{' and '.join(self.towers)}")
        add_lora(self.get_submodule(name), name, rank, alpha, dropout, targets)


def _up_to_end(row: list[int], end_tokens: Collection[int]) -> list[int]:
    """An answer with its end, without what fills up the row."""
    for place, token in enumerate(row):
        if token in end_tokens:
            return row[:place + 1]
    return row
