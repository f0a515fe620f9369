"""Names, signatures and types as the registry reads them from source."""

import importlib
import inspect
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from corekit import CorekitError, registry
from corekit.signatures import fits

ALL = [entry for kind in registry.kinds() for entry in registry.entries(kind).values()]


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: f"{entry.kind}-{entry.name}")
def test_source_tells_the_signature_that_python_sees(entry: registry.Entry) -> None:
    """Names, order, defaults and whether it takes more; everything is imported to compare."""
    seen = inspect.signature(entry.load())
    named = [each for each in seen.parameters.values() if each.kind != each.VAR_KEYWORD]
    read = entry.signature
    assert read.names == [each.name for each in named]
    assert read.open_ended == (len(named) < len(seen.parameters))
    names = vars(importlib.import_module(entry.module))
    for parameter, python in zip(read.parameters, named):
        default = python.empty if parameter.default is None else eval(parameter.default,
                                                                      dict(names))
        assert default == python.default, parameter
        if parameter.annotation is not None and python.default is not None and isinstance(
                python.default, (int, float, str, bool, list, tuple, dict)):
            assert fits(parameter.annotation, python.default)
    assert entry.summary, "every entry says what it is"


@pytest.mark.parametrize(("annotation", "good", "bad"), [
    ("int", 3, 3.5),
    ("int", 3, True),
    ("float", 3, "3"),
    ("str", "a", 1),
    ("bool", False, 0),
    ("int | None", None, "x"),
    ("list[int]", [1, 2], [1, "a"]),
    ("tuple[float, float]", [0.1, 1], [0.1]),
    ("tuple[int, ...]", [1, 2, 3], [1, "2"]),
    ("dict[str, str]", {"a": "b"}, {"a": 1}),
    ("Literal['a', 'b']", "a", "c"),
    ("Optional[int]", None, "x"),
    ("Sequence[str]", ["a"], "a"),
])
def test_types(annotation: str, good: object, bad: object) -> None:
    assert fits(annotation, good)
    assert not fits(annotation, bad)


def test_modules_and_other_objects_accept_anything() -> None:
    assert fits("nn.Module", {"name": "x"})


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(CorekitError, match="did you mean 'mobileclip_s2'"):
        registry.find("model", "mobileclip_s22")
    with pytest.raises(CorekitError, match="did you mean 'model'"):
        registry.entries("modle")
    with pytest.raises(CorekitError, match="'blok' is not an argument it takes.*did you mean "
                                           "'block'"):
        registry.build("loss", "contrastive", {"blok": 3})
    with pytest.raises(CorekitError, match="'block' takes int, not 'big'"):
        registry.build("loss", "contrastive", {"block": "big"})


def _project(folder: Path, name: str, body: str) -> Path:
    (folder / name / "recipes").mkdir(parents=True)
    (folder / name / "pieces.py").write_text(body)
    return folder


def test_a_folder_of_ones_own_adds_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = ("from corekit.registry import register\n\n@register('loss', 'half')\n"
            "def half(logits, label, factor: float = 0.5):\n    '''Half.'''\n    return factor\n")
    monkeypatch.setenv("COREKIT_PROJECTS", str(_project(tmp_path / "mine", "half_project", body)))
    assert registry.find("loss", "half").signature.names == ["logits", "label", "factor"]
    assert registry.build("loss", "half", {"logits": 1, "label": 2}) == 0.5
    assert registry.find("loss", "half").module == "corekit_projects.half_project.pieces"


def test_one_name_in_two_places_is_an_error_that_names_both(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = ("from corekit.registry import register\n\n@register('loss', 'contrastive')\n"
            "def mine(x):\n    return x\n")
    monkeypatch.setenv("COREKIT_PROJECTS", str(_project(tmp_path, "clash", body)))
    with pytest.raises(CorekitError, match=r"contrastive\.py:\d+ and .*pieces\.py:\d+"):
        registry.entries("loss")


def test_a_folder_without_projects_is_refused(tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COREKIT_PROJECTS", str(tmp_path))
    with pytest.raises(CorekitError, match="neither a project"):
        registry.entries("loss")


@pytest.mark.parametrize("command", [["corekit", "list", "models"], ["corekit-train", "--help"]])
def test_listing_and_help_take_less_than_a_second_and_no_torch(command: list[str],
                                                               tmp_path: Path) -> None:
    module = {"corekit": "main", "corekit-train": "train"}[command[0]]
    program = (f"import sys; sys.argv = {command!r}\nfrom corekit.cli.{module} import main\ntry:\n "
               f"   main()\n"
               "finally:\n    assert 'torch' not in sys.modules and 'numpy' not in sys.modules")
    seconds = [cpu_seconds(program, tmp_path, "mobileclip")]
    while len(seconds) < 6 and min(seconds) >= 1.0:
        seconds.append(cpu_seconds(program, tmp_path, "mobileclip"))
    # a machine that takes longer than a fifth of a second to import Hydra may take longer for both
    imports = cpu_seconds("import hydra.main, hydra.compose, hydra.utils", tmp_path)
    assert min(seconds) < max(1.0, imports / 0.2)


def cpu_seconds(program: str, folder: Path, shows: str = "") -> float:
    """The processor's time, not the clock's: other processes of a busy machine do not count."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          cwd=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert shows in done.stdout
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_an_argument_called_after_a_kind_is_built_first() -> None:
    drawn = {"name": "openmoji", "samples": 12}
    probe = registry.build("evaluator", "linear_probe",
                           {"dataset": drawn, "train_dataset": {**drawn, "seed": 3}})
    assert (probe.dataset.samples, probe.train_dataset.seed, probe.validation_dataset) == (12, 3,
                                                                                           None)
    with pytest.raises(CorekitError, match="no dataset is called 'openmojo'"):
        registry.build("evaluator", "linear_probe",
                       {"dataset": drawn, "train_dataset": {"name": "openmojo"}})
    assert registry.nested_kind("train_dataset",
                                {"samples": 3}) is None, "without a name it is a plain mapping"
    assert registry.nested_kind("train_data", {"name": "openmoji"}) is None
