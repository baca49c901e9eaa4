"""The real footage that comes with the project: two short clips, with whom to credit beside them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from mova_core.files import write_bytes

FOOTAGE = ("dog.mp4", "movie-hello.mp4", "README.md")


def lay_footage(folder: Path) -> list[Path]:
    """Copies the clips and their attribution into `folder`; what is there with the same bytes stays untouched."""
    written = []
    for name in FOOTAGE:
        content = (resources.files("mova_core.curation") / "footage" / name).read_bytes()
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            write_bytes(path, content)
        written.append(path)
    return [path for path in written if path.suffix == ".mp4"]
