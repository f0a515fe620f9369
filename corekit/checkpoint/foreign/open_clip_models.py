"""Models of open_clip: by its name and a file of weights, or in a folder as its hub has them."""

import importlib.util
import json
import logging
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from torch import nn

from corekit.checkpoint.foreign.offline import loading
from corekit.checkpoint.model_folder import brief
from corekit.checkpoint.read_state import read_state
from corekit.data.jobs.manifest import sha256
from corekit.data.tokenizers.base import Tokenizer
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.recipes.schema import CLIP_MEAN, CLIP_STD, Node
from corekit.signatures import nearest

CONFIG = "open_clip_config.json"
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
# What open_clip raises for a name, a file or a download.
REFUSED = (RuntimeError, ValueError, OSError, KeyError, TypeError, AttributeError, AssertionError,
           ImportError, pickle.UnpicklingError)
DEFAULTS: Node = {"mean": CLIP_MEAN, "std": CLIP_STD, "interpolation": "bicubic",
                  "resize_mode": "shortest", "fill_color": 0}  # open_clip's own

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenClip:
    """A model of open_clip.

    Args:
        model: open_clip's name for it; or ``local-dir:FOLDER`` or ``hf-hub:OWNER/REPOSITORY``,
            which hold weights and preprocessing.
        pretrained: a file of weights, or open_clip's tag of published ones.
        hub: whether what is not on this machine is downloaded.
    """

    model: str
    pretrained: str | None = None
    hub: bool = False

    def check(self) -> None:
        """Refuse, before anything is loaded, what is not there or would have to be unpickled."""
        if self.model.startswith("local-dir:"):
            folder = Path(self.model.partition(":")[2])
            self.config()
            if not any(folder.glob("*.safetensors")):
                raise CorekitError(f"{folder} holds no weights as .safetensors: put "
                                   "open_clip_model.safetensors there, or name a file of weights "
                                   "by open_clip:NAME,FILE")
        elif ":" not in self.model:
            check_name(self.model)

    def reads_text(self) -> bool:
        """Whether it has a text tower: all of open_clip's have."""
        return True

    def load(self) -> nn.Module:
        """The model with its weights, in evaluation mode; its forward gives a dict.

        Raises:
            CorekitError: it is not there, or the weights do not fit. Nothing is unpickled.
        """
        # OpenAI's weights want another GELU than the architecture's name says; open_clip only warns
        gelu = {"force_quick_gelu": True} if self.tag().get("quick_gelu") else {}
        try:
            with loading(self.hub):
                network: nn.Module = library().create_model(
                    self.model, self.pretrained, require_pretrained=True, output_dict=True, **gelu)
        except REFUSED as error:
            if self.pretrained and Path(self.pretrained).is_file():
                read_state(Path(self.pretrained))  # a better sentence, where the file is at fault
            raise self.refusal(error) from None
        return network.eval()

    def tokenizer(self) -> Tokenizer:
        """The tokenizer that its configuration names: list of captions -> int64 [n, L]."""
        try:
            with loading(self.hub):
                tokenizer: Tokenizer = library().get_tokenizer(self.model)
        except REFUSED as error:
            raise self.refusal(error, " the tokenizer of") from None
        return tokenizer

    def preprocess(self) -> Preprocess:
        """What pictures its weights want: open_clip's own defaults where nothing says it."""
        known = self.known_preprocess()
        if known is not None:
            return known
        preprocess = self.preprocess_of({"size": self.image_size()})
        log.warning("nothing says how open_clip's %s wants pictures: its defaults are taken "
                    "(resize=%s, %s, mean %s); data.preprocess.KEY=VALUE changes them", self.model,
                    preprocess.resize, preprocess.interpolation, [*preprocess.mean])
        return preprocess

    def known_preprocess(self) -> Preprocess | None:
        """What pictures its weights want; None where nothing says it.

        A file's are those of all published weights of the name, where these agree.
        """
        if ":" in self.model:
            settings = self.config().get("preprocess_cfg") or {}
        else:
            tags = [self.tag()] if self.tag() else self._published()
            wanted = [{key: tag[key] for key in DEFAULTS if tag.get(key) is not None}
                      for tag in tags]
            settings = wanted[0] if wanted and all(each == wanted[0] for each in wanted) else {}
        return self.preprocess_of({**settings, "size": self.image_size()}) if settings else None

    def preprocess_of(self, settings: Node) -> Preprocess:
        """The preprocessing of open_clip's settings; a CorekitError where it cannot be one."""
        settings = {**DEFAULTS, **settings}
        try:
            size = settings["size"]
            if isinstance(size, (list, tuple)):
                if len(set(size)) != 1:
                    raise ValueError(f"pictures of {size} pixels are not square")
                size = size[0]
            interpolation = settings["interpolation"]
            return Preprocess(int(size), "bicubic" if interpolation == "random" else interpolation,
                              _channels(settings["mean"]), _channels(settings["std"]),
                              resize=settings["resize_mode"], fill=int(settings["fill_color"]))
        except (KeyError, TypeError, ValueError, CorekitError) as error:
            raise CorekitError(f"the preprocessing of open_clip's {self.model} cannot be used: "
                               f"{dict(settings)} ({error})") from None

    def wanted(self, settings: Node | None) -> Preprocess:
        """The preprocessing of settings, or the one that is known; a CorekitError without one."""
        if settings is not None:
            return self.preprocess_of(settings)
        preprocess = self.known_preprocess()
        if preprocess is None:
            raise CorekitError(f"nothing says how open_clip's {self.model} with "
                               f"pretrained={self.pretrained} wants pictures: give preprocess, "
                               "{size: ..., interpolation: bicubic, mean: [...], std: [...]}")
        return preprocess

    def image_size(self) -> object:
        """Pixels of the pictures that its architecture is for: a number, or two."""
        try:
            architecture: Node = (self.config()["model_cfg"] if ":" in self.model
                                  else library().get_model_config(self._name))
            size: object = architecture["vision_cfg"].get("image_size", 224)
            return size
        except REFUSED as error:
            raise self.refusal(error) from None

    def identity(self) -> dict[str, object]:
        """Name and hash of the weights, which are downloaded if need be, but not loaded."""
        try:
            with loading(self.hub):
                hashes = {file.name: sha256(file) for file in self._files()}
        except REFUSED as error:
            raise self.refusal(error) from None
        if not hashes:
            tags = ", ".join(library().list_pretrained_tags_by_model(self._name))
            raise CorekitError(f"open_clip's {self.model} has no weights: give pretrained, a file "
                               f"or one of the tags {tags or '(there are none)'}")
        name = f"{self.model} {self.pretrained}" if self.pretrained else self.model
        return {"name": name, "sha256": hashes}

    def config(self) -> Node:
        """The configuration of a folder, or of a repository of the hub."""
        scheme, _, name = self.model.partition(":")
        try:
            path = Path(name) / CONFIG
            if scheme == "hf-hub":
                from huggingface_hub import hf_hub_download

                with loading(self.hub):
                    path = Path(hf_hub_download(name, CONFIG))
            content: Node = json.loads(path.read_text(encoding="utf-8"))
            content["model_cfg"]
        except REFUSED as error:
            raise self.refusal(error) from None
        return content

    def tag(self) -> Node:
        """What open_clip knows of published weights; nothing where they are a file or a folder."""
        if self.pretrained is None or ":" in self.model:
            return {}
        return dict(library().pretrained.get_pretrained_cfg(self._name, self.pretrained) or {})

    def refusal(self, error: Exception, what: str = "") -> CorekitError:
        """The sentence about what open_clip raised."""
        weights = f" with pretrained={self.pretrained}" if self.pretrained else ""
        return CorekitError(f"open_clip's {self.model}{weights} cannot be had:{what} "
                            f"{brief(error)}")

    @property
    def _name(self) -> str:
        return self.model.replace("/", "-")

    def _published(self) -> list[Node]:
        tags = library().list_pretrained_tags_by_model(self._name)
        return [library().pretrained.get_pretrained_cfg(self._name, tag) for tag in tags]

    def _files(self) -> list[Path]:
        scheme, _, name = self.model.rpartition(":")
        if scheme == "local-dir":
            return sorted(path for path in Path(name).iterdir()
                          if path.suffix in WEIGHTS or path.name == CONFIG)
        if scheme == "hf-hub":
            return [Path(library().pretrained.download_pretrained_from_hf(name))]
        if tag := self.tag():
            return [Path(library().pretrained.download_pretrained(tag))]
        return [Path(self.pretrained)] if self.pretrained else []


def _channels(value: float | Sequence[float]) -> tuple[float, float, float]:
    """A value of each channel, of which open_clip also takes one for all."""
    red, green, blue = value if isinstance(value, Sequence) else (value,) * 3
    return red, green, blue


def library() -> ModuleType:
    """open_clip; a CorekitError where it is not installed."""
    try:
        import open_clip
    except ModuleNotFoundError as error:
        raise _missing(error.name) from None
    module: ModuleType = open_clip
    return module


def check_name(name: str) -> None:
    """Refuse a name that is no architecture of open_clip, without importing it."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise _missing("open_clip")
    folder = Path(spec.origin).parent / "model_configs"
    names = [path.stem for path in folder.glob("*.json")]
    if name.replace("/", "-") not in names:
        raise CorekitError(f"open_clip has no model '{name}'{nearest(name, names)}")


def _missing(name: str | None) -> CorekitError:
    return CorekitError(f"open_clip's models need {name}: pip install 'corekit[open_clip]'")
