"""`mova doctor`: what this machine has, which extras are installed, which presets it can train, and what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

DISTRIBUTION = "mova-lineage"
GIBIBYTE = 1 << 30
OLDEST_PYTHON = (3, 11)
BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
LAKEFS_VARIABLE = "MOVA_LAKEFS_REPOSITORY"
EXTRAS_OF_NANO = ("", "curation", "train", "distributed", "eval", "orchestration")


@dataclass(frozen=True)
class Needs:
    """What training under a preset takes. Sizes in GiB; `why` says where the figures come from."""

    memory: float
    disk: float
    num_devices: int
    device_memory: float
    why: str


NEEDS = {
    "nano": Needs(6, 4, 0, 0, "measured with `make demo`"),
    "mini": Needs(32, 60, 1, 24, "arithmetic: 12 layers of width 512, latents cached on disk"),
    "mova-360p": Needs(512, 4000, 8, 80, "32 B parameters at 16 bytes of state each, partitioned over the devices"),
    "mova-720p": Needs(1024, 8000, 16, 80, "as mova-360p with four times the tokens, sequence-parallel over 16"),
}


@dataclass(frozen=True)
class Machine:
    """What was found. Sizes in bytes; `devices` are (name, memory) of the CUDA devices torch sees."""

    num_cores: int
    memory_bytes: int
    free_disk_bytes: int
    devices: tuple[tuple[str, int], ...]
    python: tuple[int, int]


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, whether it is fine, what was found, and the remedy where it is not."""

    topic: str
    name: str
    is_fine: bool
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Examination:
    """All findings. `runs_nano` is whether the embedded default can run here."""

    findings: tuple[Finding, ...]
    runs_nano: bool

    def text(self) -> str:
        """The findings as aligned lines under their topics."""
        width = max(len(finding.name) for finding in self.findings)
        lines = []
        topic = ""
        for finding in self.findings:
            if finding.topic != topic:
                topic = finding.topic
                lines.append(topic)
            mark = "ok" if finding.is_fine else "--"
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            lines.append(f"  {mark}  {finding.name.ljust(width)}  {finding.found}{remedy}")
        verdict = "the nano preset runs here: `make demo`" if self.runs_nano else "the nano preset cannot run here yet"
        return "\n".join([*lines, verdict])


def examine(root: Path) -> Examination:
    """Looks at the machine, the packages and the tools; changes nothing."""
    machine = look(root)
    extras = [_extra(name) for name in (*EXTRAS_OF_NANO, "dev")]
    presets = [preset_finding(name, needs, machine) for name, needs in NEEDS.items()]
    complete = all(finding.is_fine for finding in extras if finding.name in map(_extra_label, EXTRAS_OF_NANO))
    findings = (*_machine(machine), *extras, *_tools(), *presets)
    runs_nano = complete and presets[0].is_fine and machine.python >= OLDEST_PYTHON
    return Examination(findings, runs_nano)


def look(root: Path) -> Machine:
    """Measures the machine; `root` chooses the disk."""
    return Machine(
        num_cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        free_disk_bytes=shutil.disk_usage(root).free,
        devices=graphics_processors(),
        python=(sys.version_info.major, sys.version_info.minor),
    )


def preset_finding(name: str, needs: Needs, machine: Machine) -> Finding:
    """Whether `machine` can train under the preset, and what it lacks if not."""
    large = [memory for _, memory in machine.devices if memory >= needs.device_memory * GIBIBYTE]
    lacks = []
    if machine.memory_bytes < needs.memory * GIBIBYTE:
        lacks.append(f"{needs.memory:g} GiB of memory")
    if machine.free_disk_bytes < needs.disk * GIBIBYTE:
        lacks.append(f"{needs.disk:g} GiB of free disk")
    if len(large) < needs.num_devices:
        lacks.append(f"{needs.num_devices} GPUs of {needs.device_memory:g} GiB")
    return Finding("presets", name, not lacks, f"needs {', '.join(lacks)}" if lacks else "fits", needs.why)


def _machine(machine: Machine) -> list[Finding]:
    version = ".".join(map(str, machine.python))
    devices = ", ".join(f"{name} {memory / GIBIBYTE:.0f} GiB" for name, memory in machine.devices)
    return [
        Finding("machine", "cores", machine.num_cores >= 2, str(machine.num_cores)),
        Finding("machine", "memory", True, f"{machine.memory_bytes / GIBIBYTE:.1f} GiB"),
        Finding("machine", "disk", True, f"{machine.free_disk_bytes / GIBIBYTE:.1f} GiB free"),
        Finding("machine", "GPU", True, devices or "none that torch sees; the nano preset needs none"),
        Finding(
            "machine",
            "Python",
            machine.python >= OLDEST_PYTHON,
            f"{version} on {platform.system()} {platform.machine()}",
            "" if machine.python >= OLDEST_PYTHON else "install Python 3.11 or later",
        ),
    ]


def graphics_processors() -> tuple[tuple[str, int], ...]:
    """Name and memory of the CUDA devices that torch sees; none where torch is not installed."""
    try:
        import torch
    except ImportError:
        return ()
    if not torch.cuda.is_available():
        return ()
    properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return tuple((device.name, device.total_memory) for device in properties)


def _extra_label(extra: str) -> str:
    return extra or "base"


def _extra(extra: str) -> Finding:
    names = _requirements(extra)
    versions = {name: _version(name) for name in names}
    missing = [name for name, version in versions.items() if version is None]
    found = ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None)
    if missing:
        package = f"{DISTRIBUTION}[{extra}]" if extra else DISTRIBUTION
        found = f"missing {', '.join(missing)}"
        return Finding("packages", _extra_label(extra), False, found, f"`make install` or pip install '{package}'")
    return Finding("packages", _extra_label(extra), True, found)


def _requirements(extra: str) -> list[str]:
    """Names that the distribution requires for `extra`, or without any."""
    names = []
    for line in importlib.metadata.requires(DISTRIBUTION) or []:
        requirement, _, marker = line.partition(";")
        wanted = re.search(r"extra\s*==\s*[\"']([^\"']+)", marker)
        if (wanted.group(1) if wanted else "") == extra:
            names.append(re.split(r"[^A-Za-z0-9._-]", requirement.strip())[0])
    return names


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _tools() -> list[Finding]:
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    ray = _version("ray")
    repository = os.environ.get(LAKEFS_VARIABLE)
    git = shutil.which("git")
    return [
        Finding("tools", "git", git is not None, git or "not found", "" if git else "apt install git"),
        Finding(
            "tools",
            "browser",
            browser is not None,
            browser or "none; only the interface's test wants one",
            "" if browser else "apt install chromium",
        ),
        Finding("tools", "ffmpeg", True, "not needed: PyAV brings its own"),
        Finding(
            "tools",
            "Ray",
            ray is not None,
            ray or "not installed; only curation on a cluster wants it",
            "" if ray else "pip install 'ray[default]'",
        ),
        Finding(
            "tools",
            "lakeFS",
            repository is not None,
            repository or "off; data versions are DVC's",
            "" if repository else f"name a repository in {LAKEFS_VARIABLE} to use it",
        ),
    ]
