"""Models of transformers: a folder with ``config.json`` and weights, read and never run."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from corekit.checkpoint.foreign.offline import loading
from corekit.checkpoint.model_folder import brief
from corekit.checkpoint.preprocessor_config import read_preprocessor
from corekit.data.jobs.manifest import sha256
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.recipes.schema import CLIP_MEAN, CLIP_STD

CONFIG = "config.json"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")  # the first there is
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
HASHED = (".safetensors", ".json", ".txt", ".model")  # weights, settings and vocabularies
# What transformers raises for a folder that it cannot make a model of.
REFUSED = (RuntimeError, ValueError, OSError, KeyError, TypeError, AttributeError, ImportError,
           SafetensorError)
HALF = (0.5, 0.5, 0.5)
CLIPS = Preprocess(224, "bicubic", CLIP_MEAN, CLIP_STD, crop_rounding="down")
SIGLIPS = Preprocess(224, "bicubic", HALF, HALF, resize="squash", crop_rounding="down")
# model_type of config.json -> what its image processor does where its file says nothing
OF_BOTH = {"clip": CLIPS, "metaclip_2": CLIPS, "siglip": SIGLIPS, "aimv2": CLIPS}
OF_IMAGES = {"clip_vision_model": CLIPS, "siglip_vision_model": SIGLIPS,
             "aimv2_vision_model": CLIPS}


class HuggingFaceTokenizer(Protocol):
    """What is used of a tokenizer of transformers."""

    model_input_names: list[str]
    pad_token_id: int | None
    eos_token_id: int | None
    model_max_length: int

    def __call__(self, texts: list[str], **more: object) -> Mapping[str, Tensor]: ...


class Outputs(Protocol):
    """What is used of what its models give."""

    last_hidden_state: Tensor
    pooler_output: Tensor | None


@dataclass(frozen=True)
class TransformersFolder:
    """A folder that ``save_pretrained`` of transformers wrote, or a copy of one of the hub's."""

    path: Path

    def model_type(self) -> str:
        """What ``config.json`` calls the architecture; a CorekitError where corekit has no use."""
        try:
            content = json.loads((self.path / CONFIG).read_text(encoding="utf-8"))
            name = str(content["model_type"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorekitError(f"{self.path / CONFIG} is no configuration of transformers: "
                               f"{error!r}") from None
        known = OF_BOTH | OF_IMAGES
        if name not in known:
            why = ": its pictures have any shape" if name == "siglip2" else ""
            raise CorekitError(f"{self.path} holds a '{name}', of which corekit makes no features"
                               f"{why}; of transformers' models it takes {', '.join(known)}")
        return name

    def preprocess(self) -> Preprocess:
        """What its image processor does; a CorekitError where nothing says it."""
        for name in PROCESSORS:
            if (self.path / name).is_file():
                return read_preprocessor(self.path / name,
                                         (OF_BOTH | OF_IMAGES)[self.model_type()])
        raise CorekitError(f"nothing says how {self.path} wants pictures: put its "
                           f"{PROCESSORS[0]} beside {CONFIG}")

    def check(self) -> None:
        """Refuse, before anything is loaded, a folder that holds no weights as tensors."""
        self.model_type()
        if any((self.path / name).is_file() for name in WEIGHTS):
            return
        pickles = [path.name for path in sorted(self.path.glob("*.bin"))]
        what = f"only {pickles[0]}, a pickle" if pickles else "no weights"
        raise CorekitError(f"{self.path} holds {what}: put {WEIGHTS[0]} there, as "
                           "save_pretrained of transformers writes it")

    def reads_text(self) -> bool:
        """Whether it has a text tower."""
        return self.model_type() in OF_BOTH

    def load(self) -> nn.Module:
        """Its model with its weights in float32, in evaluation mode.

        Raises:
            CorekitError: something is missing, or does not fit. No code of the folder is run.
        """
        self.check()
        try:
            with loading(), quiet_transformers():
                from transformers import AutoModel

                loaded, report = AutoModel.from_pretrained(
                    self.path, local_files_only=True, trust_remote_code=False,
                    use_safetensors=True, output_loading_info=True)
        except REFUSED as error:
            raise self._refusal(error) from None
        unfit = sorted([*report["missing_keys"], *report.get("mismatched_keys", ())])
        if unfit:
            raise CorekitError(f"{self.path}: the weights are not those of its {CONFIG}: "
                               f"{len(unfit)} are missing, such as {unfit[0]}")
        network = loaded.float().eval()
        if not self.reads_text():
            return ImageFeatures(network).eval()
        return Features(network, self.tokenizer(), self.model_type() == "aimv2").eval()

    def identity(self) -> dict[str, object]:
        """Hashes of the weights, and of what else decides features."""
        files = [path for path in sorted(self.path.iterdir()) if path.suffix in HASHED]
        return {"sha256": {path.name: sha256(path) for path in files}}

    def tokenizer(self) -> HuggingFaceTokenizer:
        """The tokenizer whose files are in the folder."""
        try:
            with loading(), quiet_transformers():
                from transformers import AutoTokenizer

                tokenizer: HuggingFaceTokenizer = AutoTokenizer.from_pretrained(
                    self.path, local_files_only=True, trust_remote_code=False)
        except REFUSED as error:
            raise self._refusal(error, " tokenizer") from None
        return tokenizer

    def context_length(self) -> int:
        """Tokens that captions are cut or padded to: all that the model has places for."""
        try:
            with loading(), quiet_transformers():
                from transformers import AutoConfig

                config = AutoConfig.from_pretrained(self.path, local_files_only=True,
                                                    trust_remote_code=False)
            return int(config.text_config.max_position_embeddings)
        except REFUSED as error:
            raise self._refusal(error) from None

    def _refusal(self, error: Exception, what: str = " model") -> CorekitError:
        if isinstance(error, ModuleNotFoundError):
            return CorekitError(f"transformers' models need {error.name}: pip install "
                                "'corekit[language]'")
        return CorekitError(f"{self.path} holds no{what} that transformers loads: {brief(error)}")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Let transformers draw no bar and warn of nothing: what matters is checked after loading."""
    from transformers.utils import logging as log

    verbosity, draws = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(logging.ERROR)
    log.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if draws:
            log.enable_progress_bar()  # type: ignore[no-untyped-call]


class ImageFeatures(nn.Module):
    """An encoder of pictures alone: ``forward`` gives ``tokens`` [B, N, D] and ``pooled`` [B, D].

    Where the encoder pools nothing, ``pooled`` is the mean over its tokens.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def tower(self) -> nn.Module:
        """The encoder of pictures."""
        return self.network

    def encode_tokens(self, image: Tensor) -> Tensor:
        """The last hidden state [B, N, D] of pictures [B, 3, H, W], a class token with it."""
        return self.forward(image)["tokens"]

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        output: Outputs = self.tower()(pixel_values=image)
        tokens, pooled = output.last_hidden_state, output.pooler_output
        return {"tokens": tokens, "pooled": tokens.mean(1) if pooled is None else pooled}


class Features(ImageFeatures):
    """A model of pictures and captions, by ``get_image_features`` and ``get_text_features``.

    Args:
        network: the model.
        tokenizer: its tokenizer, which says whether padding is masked: SigLIP's text tower sees it.
        causal: whether the text tower needs the whole mask of what sees what. AIMv2's does: its
            tokens see later ones wherever no caption of a batch is padded (transformers 5.24).
    """

    def __init__(self, network: nn.Module, tokenizer: HuggingFaceTokenizer,
                 causal: bool = False) -> None:
        super().__init__(network)
        self.masks, self.causal = "attention_mask" in tokenizer.model_input_names, causal
        self.padding, self.end = (-1 if token is None else token for token in (
            tokenizer.pad_token_id, tokenizer.eos_token_id))

    def tower(self) -> nn.Module:
        """The encoder of pictures."""
        return self.network.get_submodule("vision_model")

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Features [B, D] of pictures [B, 3, H, W]."""
        return self._features("image", normalize, pixel_values=image)

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Features [B, D] of token ids [B, L]."""
        masks = {"attention_mask": self.mask(text)} if self.masks else {}
        if self.causal:
            earlier = torch.ones(2 * text.shape[1:], dtype=torch.bool, device=text.device).tril()
            masks["attention_mask"] = earlier & self.mask(text).bool()[:, None, None]
        return self._features("text", normalize, input_ids=text, **masks)

    def mask(self, text: Tensor) -> Tensor:
        """int64 [B, L]: 1 where a caption is, as the tokenizer's ``attention_mask``."""
        if self.padding != self.end:
            return text.ne(self.padding).long()
        ends = text.eq(self.end).long()  # captions are padded with what ends them
        return (ends.cumsum(1) - ends).eq(0).long()

    def _features(self, kind: str, normalize: bool, **inputs: Tensor) -> Tensor:
        # transformers 5 puts the features beside other outputs, 4 returns them alone
        output: Outputs | Tensor = getattr(self.network, f"get_{kind}_features")(**inputs)
        features = output if isinstance(output, Tensor) else output.pooler_output
        assert features is not None
        return F.normalize(features.float(), dim=-1) if normalize else features
