"""A project outside the repository with a kind and an optimizer of its own: no file of corekit
knows of them.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from corekit import CorekitError, registry
from corekit.cli.new import new_project
from corekit.recipes.compose import compose
from tests.conftest import corekit_command, losses

ADAPTERS = '''
from corekit.registry import declare_kind, register
from torch import Tensor, nn

from .model import Towers

declare_kind("adapter", "what is put on a tower's features")


@register("adapter", "own_small", "A bottleneck of 2.", ratio=32)
@register("adapter", "own_large", "A bottleneck of half the width, scaled.", ratio=2, scale=0.5)
class Bottleneck(nn.Module):
    """A bottleneck (Houlsby et al., 2019).

    Args:
        width: of the features.
        scale: what its output is multiplied by.
        ratio: of the width to the bottleneck's.
    """

    def __init__(self, width: int, scale: float = 1.0, *, ratio: int) -> None:
        super().__init__()
        inner = width // ratio
        self.layers = nn.Sequential(nn.Linear(width, inner), nn.Linear(inner, width))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.layers(x)


@register("model", "own_adapted")
class Adapted(Towers):
    """The towers with adapters."""

    def __init__(self, image_adapter: nn.Module, adapters: list[nn.Module],
                 width: int = 64) -> None:
        super().__init__(width)
        self.image_adapter, self.adapters = image_adapter, nn.Sequential(*adapters)

    def forward(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        features = super().forward(image, text)
        return {"image_features": self.image_adapter(features["image_features"]),
                "text_features": self.adapters(features["text_features"])}
'''
OPTIMIZER = '''
import torch
from corekit.registry import register
from torch import nn


@register("optimizer", "own_sgd")
def own_sgd(model: nn.Module, learning_rate: float, momentum: float = 0.9) -> torch.optim.Optimizer:
    """Plain SGD."""
    return torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=momentum)
'''
RECIPE = """\
# @package _global_
# The first recipe with adapters and plain SGD.
defaults:
  - /recipe/own/first
  - override /optimizer: null
model:
  name: own_adapted
  image_adapter: {name: own_large, width: 64}
  adapters: [{name: own_small, width: 64}, {name: own_large, width: 64, scale: 0.25}]
optimizer: {name: own_sgd, learning_rate: 0.05}
"""
MODEL = ("model.name=own_adapted", "model.image_adapter.name=own_large",
         "model.image_adapter.width=64")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``corekit new own``, and three files beside what that writes."""
    monkeypatch.chdir(tmp_path)
    folder = new_project("own").absolute()
    (folder / "adapters.py").write_text(ADAPTERS)
    (folder / "sgd.py").write_text(OPTIMIZER)
    (folder / "recipes" / "adapted.yaml").write_text(RECIPE)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("COREKIT_PROJECTS", str(folder))
    return elsewhere


def test_a_recipe_nests_its_entries_and_trains(project: Path) -> None:
    done = corekit_command("corekit-train", "+recipe=own/adapted", "engine.steps=3",
                           "schedule.warmup_steps=0", "log.every_steps=1", "data.workers=0",
                           "~evaluators", "run_dir=run", folder=project)
    assert done.returncode == 0, done.stderr
    assert len(losses(project / "run")) == 3
    recipe = compose("+recipe=own/adapted")
    model = registry.build("model", "own_adapted", {
        key: recipe.model.arguments[key] for key in ("image_adapter", "adapters")
    })
    assert [each.scale for each in (model.image_adapter, *model.adapters)] == [0.5, 1.0, 0.25]
    assert [each.layers[0].out_features
            for each in (model.image_adapter, *model.adapters)] == [32, 2, 32]
    assert isinstance(
        registry.build("optimizer", "own_sgd", {"learning_rate": 1.0}, {"model": model}),
        torch.optim.SGD)


def test_its_kind_is_listed_and_shown_as_the_cores_are(project: Path) -> None:
    kinds = corekit_command("corekit", "list", folder=project).stdout.split()
    assert {"adapters", "models", "losses", "teachers", "recipes"} <= set(kinds)
    for word in ("adapter", "adapters"):
        assert corekit_command("corekit", "list", word,
                               folder=project).stdout.split() == ["own_large", "own_small"]
    shown = corekit_command("corekit", "show", "adapter", "own_large", folder=project).stdout
    assert "A bottleneck of half the width, scaled." in shown
    assert "scale: what its output" in shown
    assert "Fixed: ratio = 2" in shown
    assert "  scale: float = 0.5\n" in shown
    assert "  ratio" not in shown.partition("Arguments:")[2]


@pytest.mark.parametrize(("override", "message"), [
    ("model.image_adapter.name=own_larg", "no adapter is called 'own_larg'.*did you mean "
                                          "'own_large'.*corekit list adapters"),
    ("model.image_adapter.scal=1", "'scal' is not an argument it takes.*did you mean 'scale'"),
    ("model.image_adapter.ratio=4", "'ratio' is not an argument it takes"),
    ("model.adapters.0.name=x", "model.adapters.0.*no adapter is called 'x'"),
    ("optimizer.learning_rate=fast", "'learning_rate' takes float, not 'fast'"),
])
def test_mistakes_in_its_recipe_are_one_sentence(project: Path, override: str,
                                                 message: str) -> None:
    with pytest.raises(CorekitError, match=message):
        compose("+recipe=own/adapted", override)


@pytest.mark.parametrize(("line", "message"), [
    ('@register("modle", "x")', r"pieces\.py:4: 'x' is registered as a 'modle', a kind that nobody "
                                r"declares "
                                r"\(did you mean 'model'\?\); a new kind needs"),
    ('@register("loss", "x" + "y")', r"pieces\.py:4: register is read from source and takes "
                                     r"literals alone"),
    ('@register("loss", "x", "An x.", width=WIDTH)', r"pieces\.py:4: register is read from source "
                                                     r"and takes literals"),
    ('@register("loss")', r"pieces\.py:4: register takes a kind and a name"),
    ('@registry.register("modle", "x")', "'modle', a kind that nobody declares"),
    ('declare_kind("model", "Mine.")\n@other.register("no", "kind")',
     r"two kinds are called 'model': .*kinds\.py:\d+ and .*pieces\.py:4"),
    ('declare_kind("my_kind", "Mine.")\n@other.register("no", "kind")', "'my_kind' cannot be a "
                                                                        "kind: take one word"),
    ('declare_kind("recipe", "Mine.")\n@other.register("no", "kind")', "'recipe' cannot be a kind"),
    ('declare_kind("thing")\n@other.register("no", "kind")', r"pieces\.py:4: declare_kind takes a "
                                                             r"name and what"),
])
def test_mistakes_in_a_declaration_name_their_line(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str) -> None:
    (tmp_path / "mine" / "recipes").mkdir(parents=True)
    (tmp_path / "mine" / "pieces.py").write_text(
        f"from corekit.registry import declare_kind, register\nfrom corekit import "
        f"registry\n\n{line}\n"
        "def x(width: int = 1):\n    '''An x.'''\n")
    monkeypatch.setenv("COREKIT_PROJECTS", str(tmp_path / "mine"))
    with pytest.raises(CorekitError, match=message):
        registry.kinds()


@pytest.mark.parametrize(("arguments", "message"), [
    ("widht=3, depth=1", r"'mine' is a variant of tower, and its 'widht' is not an argument.*did "
                         r"you mean 'width'"),
    ("width='3', depth=1", "'width' takes int, not '3'"), ("width=3", "'depth' is missing"),
])
def test_variants_that_do_not_fit_are_refused(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, message: str) -> None:
    (tmp_path / "mine" / "recipes").mkdir(parents=True)
    (tmp_path / "mine" / "pieces.py").write_text(
        f"from corekit.registry import register\n\n\n@register('model', 'mine', 'Mine.', "
        f"{arguments})\n"
        "def tower(width: int = 1, *, depth: int):\n    '''A tower.'''\n")
    monkeypatch.setenv("COREKIT_PROJECTS", str(tmp_path / "mine"))
    with pytest.raises(
            CorekitError,
            match=rf"pieces\.py:4: model {message}" if "variant" in message else message):
        registry.build("model", "mine")


def test_another_librarys_register_is_none_of_ours(tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine" / "recipes").mkdir(parents=True)
    (tmp_path / "mine" / "pieces.py").write_text(
        "from other import register\n\n\n@register('modle', 'x')\ndef x(): "
        "...\n\n\n@app.register('y', 'z')\nclass Y: ...\n")
    monkeypatch.setenv("COREKIT_PROJECTS", str(tmp_path / "mine"))
    assert "modle" not in registry.kinds()


def test_a_session_declares_registers_and_nests_without_a_file(tmp_path: Path) -> None:
    program = '''
from corekit.registry import build, declare_kind, register
from corekit import CorekitError
declare_kind("adapter", "Mine.")
@register("adapter", "half", "Half.", factor=0.5)
@register("adapter", "one", "One.", factor=1.0)
class Scaled:
    def __init__(self, bias: int = 0, *, factor: float) -> None:
        self.bias, self.factor = bias, factor
@register("model", "session")
def session(adapters):
    return [(each.factor, each.bias) for each in adapters]
print(build("model", "session", {"adapters": [{"name": "half"}, {"name": "one", "bias": 3}]}))
try:
    register("adaptor", "x")(Scaled)
except CorekitError as error:
    print(error)
'''
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          cwd=tmp_path)
    assert done.stdout.splitlines()[0] == "[(0.5, 0), (1.0, 3)]", done.stderr
    assert "there is no kind 'adaptor' (did you mean 'adapter" in done.stdout
