"""lakeFS: a branch a run for its data, committed, merged only when the gates pass, tagged for a release.

On when the environment names a repository in ``MOVA_LAKEFS_REPOSITORY``; server and credentials come from where the
vendor's tools read them: ``LAKECTL_SERVER_ENDPOINT_URL``, ``LAKECTL_CREDENTIALS_ACCESS_KEY_ID`` and
``LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY``, or ``~/.lakectl.yaml``. Off otherwise; callers then announce `OFF_NOTE`.

The client underneath is the vendor's `lakefs` SDK. This wrapper was exercised against a local stand-in that speaks the
REST endpoints it uses (config, branch, object, list, delete, diff, commit, merge, tag), not against a real server.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mova_core.errors import UserError
from mova_core.files import sha256_of_file

if TYPE_CHECKING:
    import lakefs

REPOSITORY_VARIABLE = "MOVA_LAKEFS_REPOSITORY"
OFF_NOTE = f"lakeFS is off: {REPOSITORY_VARIABLE} is not set, so nothing was committed or tagged there"
TRUNK = "main"
HASH_KEY = "sha256"  # user metadata of each object, so that an unchanged file is not sent twice
DELETE_BATCH = 1000


class LakeFS:
    """One run's branch in one repository. Every call may raise `UserError` where the server cannot or will not."""

    def __init__(self, repository: lakefs.Repository, host: str) -> None:
        self._repository = repository
        self._host = host
        self._branch: Any = None

    @staticmethod
    def from_environment(environment: Mapping[str, str] = os.environ) -> LakeFS | None:
        """The configured repository, or None where none is named.

        Raises
        ------
        UserError : if a repository is named but the SDK or the credentials are missing.
        """
        name = environment.get(REPOSITORY_VARIABLE, "").strip()
        if not name:
            return None
        try:
            import lakefs
        except ImportError as error:
            raise UserError(
                f"{REPOSITORY_VARIABLE} is {name!r} but the lakefs package is not installed",
                expected="the package `lakefs`",
                remedy="install the extra `orchestration`, or unset the variable",
            ) from error
        try:
            client = lakefs.Client()  # type: ignore[no-untyped-call]  # the SDK leaves its constructor unannotated
        except lakefs.exceptions.LakeFSException as error:
            raise UserError(
                f"{REPOSITORY_VARIABLE} is {name!r} but no lakeFS credentials were found",
                expected="LAKECTL_SERVER_ENDPOINT_URL and LAKECTL_CREDENTIALS_* variables, or ~/.lakectl.yaml",
                remedy="set them, or unset the variable",
            ) from error
        return LakeFS(lakefs.Repository(name, client), str(client.config.host))

    def begin(self, run: str) -> str:
        """Opens the run's branch from the trunk, or goes on with it, and returns its name."""
        name = f"run-{run}"
        with self._asking(f"create branch {name}"):
            self._branch = self._repository.branch(name).create(TRUNK, exist_ok=True)
        return name

    def mirror(self, root: Path, folder: Path) -> int:
        """Makes the branch hold exactly `folder`'s files, named relative to `root`; returns how many were sent."""
        branch = self._opened()
        prefix = folder.relative_to(root).as_posix()
        files = {
            path.relative_to(root).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }
        with self._asking(f"upload {prefix}"):
            kept = {
                entry.path: (entry.metadata or {}).get(HASH_KEY, "")
                for entry in branch.objects(prefix=f"{prefix}/", user_metadata=True)
            }
            sent = 0
            for name, path in files.items():
                digest = sha256_of_file(path)
                if kept.get(name) != digest:
                    self._send(name, path, digest)
                    sent += 1
            gone = sorted(set(kept) - set(files))
            for start in range(0, len(gone), DELETE_BATCH):
                branch.delete_objects(gone[start : start + DELETE_BATCH])
        return sent

    def commit(self, message: str, metadata: Mapping[str, str]) -> str:
        """Commits what was mirrored and returns ``repository@commit``; with nothing changed, the branch's head."""
        branch = self._opened()
        with self._asking("commit"):
            changed = next(iter(branch.uncommitted(max_amount=1)), None) is not None
            reference = branch.commit(message, metadata=dict(metadata)) if changed else branch.head
        return f"{self._repository.id}@{reference.id}"

    def merge(self, gates: Mapping[str, bool]) -> str:
        """Merges the branch into the trunk and returns the trunk's commit id.

        Raises
        ------
        UserError : if a gate did not pass: the branch stays for inspection and the trunk stays as it was.
        """
        branch = self._opened()
        failed = sorted(name for name, passed in gates.items() if not passed)
        if failed or not gates:
            raise UserError(
                f"branch {branch.id} has gates that did not pass ({', '.join(failed) or 'none was given'})",
                expected="every gate to pass before a merge",
                remedy="mend the data and run the step again; the branch is left as it is",
            )
        with self._asking(f"merge {branch.id}"):
            trunk = self._repository.branch(TRUNK)
            if next(iter(trunk.diff(branch, max_amount=1)), None) is None:
                return str(trunk.head.id)
            return str(branch.merge_into(trunk))

    def tag(self, name: str, commit_id: str) -> None:
        """Names a commit for good; the same name on another commit is refused."""
        with self._asking(f"tag {name}"):
            tag = self._repository.tag(name).create(commit_id, exist_ok=True)
            found = str(tag.get_commit().id)
        if found != commit_id:
            raise UserError(
                f"lakeFS tag {name} is on commit {found}",
                expected=f"commit {commit_id}",
                remedy="release under another version; a tag does not move",
            )

    def _send(self, name: str, path: Path, digest: str) -> None:
        branch = self._opened()
        writer = branch.object(name).writer("wb", metadata={HASH_KEY: digest})
        with path.open("rb") as stream, writer:
            while block := stream.read(1 << 20):
                writer.write(block)

    def _opened(self) -> Any:
        if self._branch is None:
            raise ValueError("begin(run) comes before any other call")
        return self._branch

    @contextlib.contextmanager
    def _asking(self, action: str) -> Iterator[None]:
        """Turns the SDK's and the connection's errors into one line that says what was asked of whom."""
        import lakefs
        import urllib3

        try:
            yield
        except (lakefs.exceptions.LakeFSException, urllib3.exceptions.HTTPError) as error:
            raise UserError(
                f"lakeFS at {self._host} did not {action} in {self._repository.id} ({error})",
                expected="a reachable server with that repository and leave to write",
                remedy=f"check the server and the credentials, or unset {REPOSITORY_VARIABLE}",
            ) from error
