"""Whose a run is: one's own is trusted like code, and somebody else's is data.

A run is somebody else's where its files have another owner than those that are written there now,
or where ``environment.json`` names another user. The machine does not count.
``COREKIT_TRUST_RUN=1`` takes any run for one's own.
"""

import json
import os
import pwd
import tempfile
from pathlib import Path

from corekit.errors import CorekitError
from corekit.recipes.saved import load_config, load_config_of_weights
from corekit.recipes.schema import RunConfig

ENVIRONMENT = "environment.json"


def user_name() -> str | None:
    """This user's name; None where the system has none, as in some containers."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None


def config_beside(folder: Path) -> RunConfig:
    """The recipe beside a folder's weights: all of it only where it is one's own run's."""
    path = folder / "recipe.yaml"
    if not path.is_file():
        raise CorekitError(f"{folder} holds no run and no model folder of corekit: no recipe.yaml "
                           "lies beside its weights")
    return load_config(path) if is_own_run(folder) else load_config_of_weights(path)


def is_own_run(path: Path) -> bool:
    """Whether a path is one's own run, or the checkpoint or model folder of one."""
    folder = path.resolve()
    if folder.name in ("model", "best"):
        folder = folder.parent
    if folder.parent.name == "checkpoints":
        folder = folder.parent.parent
    is_run = all((folder / name).is_file() for name in ("recipe.yaml", ENVIRONMENT))
    return is_run and _somebody_else(folder) is None


def refuse_somebody_elses(folder: Path) -> None:
    """Raise a CorekitError where a run, or a checkpoint of one, is somebody else's."""
    maker = _somebody_else(folder)
    if maker is not None:
        raise CorekitError(f"{folder} is somebody else's ({maker}), and going on from it unpickles "
                           "its state, which may run any program: if you trust it, put "
                           "COREKIT_TRUST_RUN=1 before the command; its weights alone are read "
                           "without that, by init.path, corekit-eval and corekit.load")


def _somebody_else(folder: Path) -> str | None:
    """What says that a run or a checkpoint is somebody else's; None for one's own."""
    if os.environ.get("COREKIT_TRUST_RUN"):
        return None
    for file in (folder / ENVIRONMENT, folder / "recipe.yaml", *folder.glob("state/*")):
        owner = file.stat().st_uid if file.is_file() else os.getuid()
        if owner not in (os.getuid(), _owner_of_new_files(folder)):
            return f"{file.relative_to(folder)} is owned by {_name_of(owner)}"
    try:
        environment = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
        user = environment.get("user")
    except (OSError, ValueError, AttributeError):
        return None
    if user is not None and user_name() not in (None, user):
        return f"{ENVIRONMENT} says that it was made by {user}"
    return None


def _owner_of_new_files(folder: Path) -> int:
    """The owner that what is written here gets: a server may put one user in place of another."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_uid
    except OSError:
        return os.getuid()


def _name_of(owner: int) -> str:
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return f"user {owner}"
