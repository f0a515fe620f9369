"""Where a key of the recipe was set: which file, or the command line."""

from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from corekit.projects import package_folder
from corekit.recipes.find import recipe_file


def origin(key: str) -> str:
    """Where a key was set: ' (on the command line)' or ' (in FILE)'; '' where that is not known."""
    if not HydraConfig.initialized():
        return ""
    overrides = list(HydraConfig.get().overrides.task)
    for override in overrides:
        name = override.split("=", 1)[0].lstrip("+~")
        if name == key or key.startswith(name + ".") or name.startswith(key + "."):
            return " (on the command line)"
    for path, config in reversed(_composed_files(overrides)):
        if OmegaConf.select(config, key, throw_on_missing=False) is not None:
            return f" (in {path})"
    return ""


def _composed_files(overrides: list[str]) -> list[tuple[str, DictConfig]]:
    """The files of this composition in the order of merging: path, content at its place."""
    instance = GlobalHydra.instance().hydra
    if instance is None:
        return []
    name = HydraConfig.get().job.config_name
    defaults = instance.config_loader.compute_defaults_list(name, overrides, RunMode.RUN)
    files = []
    for default in defaults.defaults:
        path = file_of(default.config_path or "")
        if Path(path).is_file():
            config = OmegaConf.load(path)
            if default.package not in (None, "", "_global_"):
                section = config
                config = OmegaConf.create({})
                OmegaConf.update(config, default.package, section, force_add=True)
            assert isinstance(config, DictConfig)
            files.append((path, config))
    return files


def file_of(config_path: str) -> str:
    """The file behind a path of Hydra's; the path itself where none is there."""
    recipe = recipe_file(config_path)
    if recipe is not None:
        return str(recipe)
    folders = (package_folder("corekit_recipes"), Path("recipes"), Path(__file__).parent)
    files = [folder / f"{config_path}.yaml" for folder in folders if folder is not None]
    return next((str(file) for file in files if file.is_file()), config_path)
