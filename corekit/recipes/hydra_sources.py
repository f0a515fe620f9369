"""Where Hydra finds recipes and shared groups: in corekit and in every project in reach."""

from pathlib import Path

import yaml
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from corekit import projects
from corekit.errors import CorekitError
from corekit.recipes.find import recipe_file, recipe_names
from corekit.recipes.hydra_schema import FREE_SECTIONS, recipe_schema
from corekit.recipes.saved import RENAMED
from corekit.signatures import closest


class RecipeSource(ConfigSource):
    """Maps Hydra's group ``recipe/<project>`` to that project's ``recipes`` folder."""

    @staticmethod
    def scheme() -> str:
        return "corekit"

    def load_config(self, config_path: str) -> ConfigResult:
        path = recipe_file(config_path)
        if path is None:
            raise ConfigLoadError(f"no recipe file for {config_path}")
        try:
            text = path.read_text(encoding="utf-8-sig")  # without the mark of Windows' editors
            config = OmegaConf.create(text)
        except UnicodeDecodeError as error:
            raise CorekitError(f"{path} is not in UTF-8 ({error.reason}): save it so") from None
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise CorekitError(f"{path} is not valid YAML: {reason}") from None
        header = self._get_header_dict(text)
        if header.get("package") is None or not isinstance(config, DictConfig):
            raise CorekitError(f"{path} is no recipe: its first line must be `# @package _global_`,"
                               " and the others keys and values")
        return ConfigResult(provider=self.provider, path=f"file://{path}", config=config,
                            header=header)

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        group, _, project = config_path.strip("/").partition("/")
        return group == "recipe" and project in ("", *projects.find_projects())

    def is_config(self, config_path: str) -> bool:
        return recipe_file(config_path) is not None

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path in ("", "recipe"):
            groups = sorted(projects.find_projects()) if config_path else ["recipe"]
            return [] if results_filter == ObjectType.CONFIG else groups
        project = config_path.split("/")[1] + "/"
        names = [name.removeprefix(project) for name in recipe_names() if name.startswith(project)]
        return [] if results_filter == ObjectType.GROUP else names


class CorekitSearchPath(SearchPathPlugin):
    """Adds the recipes of projects, shared groups, and ``recipes/`` in the working directory."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("corekit-projects", "corekit://projects")
        search_path.append("corekit-recipes", "pkg://corekit_recipes")
        local = Path("recipes").resolve()
        shared = projects.package_folder("corekit_recipes")
        if local.is_dir() and (shared is None or local != shared.resolve()):
            search_path.append("local", f"file://{local}")


def install(schema: DictConfig) -> None:
    """Register corekit's sources and the schema of the command line with this process's Hydra."""
    Plugins.instance().register(CorekitSearchPath)
    SourcesRegistry.instance().register(RecipeSource)
    ConfigStore.instance().store("schema", schema, provider="corekit")


def current_schema() -> DictConfig:
    """The schema that this process's command line is checked against."""
    schema = ConfigStore.instance().repo.get("schema.yaml")
    return recipe_schema() if schema is None else schema.node


def nearest_key(key: str) -> str:
    """Suggest the nearest key of the schema, by the whole key or by its last part."""
    if key in RENAMED:
        return f" (it is called '{RENAMED[key]}' now)"
    keys = known_keys(current_schema())
    by_last_part = {name.rpartition(".")[2]: name for name in keys}
    last_part = closest(key.rpartition(".")[2], by_last_part)
    match = closest(key, keys) or by_last_part.get(last_part or "")
    return f" (did you mean '{match}'?)" if match else ""


def known_keys(schema: DictConfig, prefix: str = "") -> list[str]:
    """The keys of a schema, dotted, but for those of free sections."""
    keys: list[str] = []
    for name in map(str, schema):
        key = f"{prefix}{name}"
        keys.append(key)
        node = schema._get_node(name)
        if isinstance(node, DictConfig) and key not in FREE_SECTIONS and not node._is_none():
            keys += known_keys(node, key + ".")
    return keys
