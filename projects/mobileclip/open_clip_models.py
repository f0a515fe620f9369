"""Models of open_clip, with the preprocessing they were trained for: known, or an error."""

import json
from pathlib import Path

from torch import nn

from corekit.data.jobs.manifest import sha256
from corekit.data.tokenizers.base import Tokenizer
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.recipes.schema import Node

try:
    import open_clip
    from huggingface_hub import hf_hub_download
except ModuleNotFoundError as error:
    raise CorekitError(f"open_clip's models need {error.name}: pip install "
                       "'corekit[open_clip]'") from None

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
# What open_clip raises for a name or a download.
_REFUSED = (RuntimeError, ValueError, OSError, KeyError, ImportError)


def load_open_clip(model: str, pretrained: str | None,
                   preprocess: Node | None) -> tuple[nn.Module, Preprocess]:
    """The model for evaluation and its preprocessing; a CorekitError where one is missing."""
    tag = _tag(model, pretrained)
    # OpenAI's weights want another GELU than the architecture's name says; open_clip only warns.
    gelu = {"force_quick_gelu": True} if tag.get("quick_gelu") else {}
    try:
        network = open_clip.create_model(model, pretrained, require_pretrained=True, **gelu)
    except _REFUSED as error:
        raise _refusal(model, pretrained, error) from None
    config = None
    if tag or _config_has_preprocessing(model):
        config = dict(getattr(network.visual, "preprocess_cfg", {}))
    return network.eval(), _preprocess(model, pretrained, preprocess, config)


def open_clip_tokenizer(model: str) -> Tokenizer:
    """The tokenizer that the model's configuration names: list of captions -> int64 [n, L]."""
    try:
        tokenizer: Tokenizer = open_clip.get_tokenizer(model)
    except _REFUSED as error:
        raise _refusal(model, None, error) from None
    return tokenizer


def open_clip_identity(model: str, pretrained: str | None,
                       preprocess: Node | None) -> dict[str, object]:
    """Name and hash of the weights, which are downloaded if need be, but not loaded."""
    tag = _tag(model, pretrained)
    if preprocess is not None or not (tag or _config_has_preprocessing(model)):
        _preprocess(model, pretrained, preprocess, None)  # raises where it is wrong or missing
    try:
        hashes = {file.name: sha256(file) for file in _files(model, pretrained, tag)}
    except _REFUSED as error:
        raise _refusal(model, pretrained, error) from None
    if not hashes:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "(there are none)"
        raise CorekitError(f"open_clip's {model} has no weights: give pretrained, a file or one of "
                           f"the tags {tags}")
    return {"name": f"{model} {pretrained}" if pretrained else model, "sha256": hashes}


def _files(model: str, pretrained: str | None, tag: Node) -> list[Path]:
    scheme, _, name = model.rpartition(":")
    if scheme == "local-dir":
        return sorted(path for path in Path(name).iterdir()
                      if path.suffix in _WEIGHTS or path.name == "open_clip_config.json")
    if scheme == "hf-hub":
        return [Path(open_clip.pretrained.download_pretrained_from_hf(name))]
    if tag:
        return [Path(open_clip.download_pretrained(tag))]
    return [Path(pretrained)] if pretrained else []


def _tag(model: str, pretrained: str | None) -> Node:
    """What open_clip knows of published weights; nothing where they are a file or in a folder."""
    if pretrained is None or ":" in model:
        return {}
    return dict(open_clip.get_pretrained_cfg(model.replace("/", "-"), pretrained) or {})


def _config_has_preprocessing(model: str) -> bool:
    """Whether the model's own configuration says how it wants pictures."""
    scheme, _, name = model.rpartition(":")
    if not scheme:
        return False
    try:
        path = Path(name) / "open_clip_config.json"
        if scheme == "hf-hub":
            path = Path(hf_hub_download(name, "open_clip_config.json"))
        return bool(json.loads(path.read_text(encoding="utf-8"))["preprocess_cfg"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _preprocess(model: str, pretrained: str | None, from_user: Node | None,
                from_model: Node | None) -> Preprocess:
    settings = from_user if from_user is not None else from_model
    if settings is None:
        raise CorekitError(f"nothing says how open_clip's {model} with pretrained={pretrained} "
                           "wants pictures: give preprocess, {size: ..., interpolation: bicubic, "
                           "mean: [...], std: [...]}")
    try:
        size = settings["size"]
        if isinstance(size, (list, tuple)):
            if len(set(size)) != 1:
                raise ValueError(f"pictures of {size} pixels are not square")
            size = size[0]
        return Preprocess(int(size), settings["interpolation"], settings["mean"], settings["std"])
    except (KeyError, TypeError, ValueError) as error:
        raise CorekitError(f"the preprocessing of open_clip's {model} cannot be used: {settings} "
                           f"({error})") from None


def _refusal(model: str, pretrained: str | None, error: Exception) -> CorekitError:
    weights = f" with pretrained={pretrained}" if pretrained else ""
    reason = " ".join(str(error).split())[:300]
    return CorekitError(f"open_clip's {model}{weights} cannot be had: {reason}")
