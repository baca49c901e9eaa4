"""The lineage stamp: which data, which configuration and which code made an output.

A stamp is a small JSON file beside the output (samples, evaluation, release). It holds content hashes only, no clock
and no path of the machine, so equal inputs give an equal stamp. The data commit is a hash over the input manifests'
bytes; where DVC's lock names the same folders, or a lakeFS commit holds them, those addresses are stated beside it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

import mova_core
from mova_core.config import Config
from mova_core.errors import UserError
from mova_core.files import content_id, sha256_of_file, write_text
from mova_core.versioning.dvc_lock import locked_outputs

LINEAGE_FILE = "lineage.json"
UNKNOWN = "unknown"
STAMPED_LIBRARIES = ("torch", "deepspeed", "transformers", "safetensors", "numpy", "av", "pyarrow")
CODE_PACKAGES = ("mova_core", "kernels")
GIT_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Lineage:
    """Where an output comes from.

    Attributes
    ----------
    data_commit : 16 digits over the names and contents of `inputs`.
    inputs : input file, relative to the workspace -> SHA-256.
    dvc_outputs : folder that holds inputs -> the hash under which dvc.lock keeps it; empty without DVC.
    lakefs_commit : ``repository@commit`` of the data branch, empty where lakeFS is off.
    config_hash : 16 digits over the configuration sections that the output depends on.
    code_commit : git commit of this code, or "unknown" where it does not run from a git checkout.
    code_is_dirty : whether the code differed from that commit; None where there is no commit.
    source_hash : 16 digits over the source files themselves, which holds with and without git.
    libraries : distribution name -> version, "absent" where not installed; and Python's version.
    """

    data_commit: str
    inputs: dict[str, str]
    config_hash: str
    code_commit: str
    code_is_dirty: bool | None
    source_hash: str
    libraries: dict[str, str]
    dvc_outputs: dict[str, str] = field(default_factory=dict)
    lakefs_commit: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    def save(self, folder: Path) -> Path:
        """Writes the stamp into `folder` and returns its path."""
        path = folder / LINEAGE_FILE
        write_text(path, self.to_json())
        return path

    @staticmethod
    def load(folder: Path) -> Lineage:
        """Reads the stamp of `folder`.

        Raises
        ------
        UserError : if there is none or it does not read.
        """
        path = folder / LINEAGE_FILE
        try:
            return Lineage(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"no readable lineage stamp at {path} ({error})",
                expected="the lineage.json that the step wrote beside its output",
                remedy="run the step that writes this folder again",
            ) from error


def stamp(
    config: Config,
    root: Path,
    inputs: Iterable[Path],
    sections: Sequence[str] = (),
    lakefs_commit: str = "",
) -> Lineage:
    """Builds the stamp of an output made from `inputs` under `config`.

    Parameters
    ----------
    root : the workspace's root; every input lies below it.
    inputs : the files that identify the data: manifests, and weights where a model is an input.
    sections : the configuration's sections that count; all of them if empty.
    lakefs_commit : what `LakeFS.commit` returned for the same data.

    Raises
    ------
    UserError : if an input is missing.
    """
    hashes = hash_inputs(root, inputs)
    commit, dirty = code_commit()
    return Lineage(
        data_commit=content_id(*(f"{name}={digest}" for name, digest in hashes.items())),
        inputs=hashes,
        dvc_outputs=locked_outputs(root, hashes),
        lakefs_commit=lakefs_commit,
        config_hash=config_hash(config, sections),
        code_commit=commit,
        code_is_dirty=dirty,
        source_hash=source_hash(),
        libraries=library_versions(),
    )


def hash_inputs(root: Path, inputs: Iterable[Path]) -> dict[str, str]:
    """Relative POSIX path -> SHA-256, sorted by path.

    Raises
    ------
    UserError : if a file is missing.
    """
    hashes = {}
    for path in sorted(set(inputs)):
        if not path.is_file():
            raise UserError(
                f"no file at {path}",
                expected="every input of this step",
                remedy="run the steps before this one (`mova --help` lists them in order)",
            )
        hashes[path.resolve().relative_to(root.resolve()).as_posix()] = sha256_of_file(path)
    return hashes


def config_hash(config: Config, sections: Sequence[str] = ()) -> str:
    """16 digits over the resolved values of `sections` (all if empty), whatever the file's layout and comments."""
    values = config.model_dump(mode="json", include=set(sections) or None)
    return content_id(json.dumps(values, sort_keys=True))


def source_hash() -> str:
    """16 digits over every Python source of the packages that do the work."""
    root = Path(mova_core.__file__).parent.parent
    digest = hashlib.sha256()
    for package in CODE_PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root).as_posix()}={sha256_of_file(path)}\n".encode())
    return digest.hexdigest()[:16]


def code_commit() -> tuple[str, bool | None]:
    """The git commit that this code was checked out from and whether its packages were edited since.

    ``("unknown", None)`` without git, and for an installed copy: one that lies inside somebody's repository without
    being tracked by it must not borrow that repository's commit.
    """
    package = Path(mova_core.__file__).parent
    if _git(package, "ls-files", "--error-unmatch", "--", "__init__.py") is None:
        return UNKNOWN, None
    commit = _git(package, "rev-parse", "HEAD")
    changes = _git(package, "status", "--porcelain", "--", *(f"../{name}" for name in CODE_PACKAGES))
    if commit is None or changes is None:
        return UNKNOWN, None
    return commit, bool(changes)


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide the numbers, read from their metadata without importing them."""
    versions = {"python": platform.python_version()}
    for name in STAMPED_LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, or None where git is absent, refuses or hangs."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
