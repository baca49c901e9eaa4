"""The release in lakeFS, where that is configured: data committed before, folder committed, merged and tagged after."""

from __future__ import annotations

from dataclasses import dataclass

from mova_core.config import Config
from mova_core.release.verify import verify_release
from mova_core.versioning.lakefs import OFF_NOTE, LakeFS
from mova_core.versioning.lineage import Lineage
from mova_core.workspace import Workspace

# Folders of the workspace that make up a run's data; raw video stays where it is, known by its hashes in the manifests.
DATA_FOLDERS = ("ingest", "clips", "captions", "latents")


@dataclass(frozen=True)
class Publication:
    """A run's branch with its data committed; or nothing, where lakeFS is off.

    Attributes
    ----------
    data_commit : ``repository@commit`` of the data, empty where lakeFS is off.
    tag : what the release is to be called there.
    """

    lake: LakeFS | None
    data_commit: str
    tag: str

    def finish(self, workspace: Workspace) -> str:
        """Commits the release folder, merges if it verifies, tags; returns a sentence on what was done.

        Raises
        ------
        UserError : if the server refuses, or the tag names another commit already.
        """
        if self.lake is None:
            return OFF_NOTE
        self.lake.mirror(workspace.root, workspace.release)
        committed = self.lake.commit(f"release {self.tag}", {"data": self.data_commit})
        trunk = self.lake.merge({"release verifies": not verify_release(workspace.release)})
        self.lake.tag(self.tag, trunk)
        return f"lakeFS: data in {self.data_commit}, the release in {committed}, tagged {self.tag}"


def publication(config: Config, workspace: Workspace, lineage: Lineage) -> Publication:
    """Opens the run's branch and commits the data that the release was made from, where lakeFS is configured."""
    tag = f"{config.release.name}-{config.release.version}"
    lake = LakeFS.from_environment()
    if lake is None:
        return Publication(None, "", tag)
    lake.begin(lineage.data_commit)
    for name in DATA_FOLDERS:
        folder = workspace.data / name
        if folder.is_dir():
            lake.mirror(workspace.root, folder)
    commit = lake.commit(f"data of {tag}", {"config": lineage.config_hash, "code": lineage.code_commit})
    return Publication(lake, commit, tag)
