"""The model card: what the release is, how good it is by which figures, what it was made from, where it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mova_core.config import Config
from mova_core.data.records import LatentRow
from mova_core.inference.inputs import Settings
from mova_core.versioning.lineage import Lineage

# Column title -> what a set's figure is called in metrics.json after the set's name, and how to print it.
SET_COLUMNS = {
    "clips": ("clips", "{:.0f}"),
    "events": ("visible_events", "{:.0f}"),
    "within one frame": ("within_one_frame", "{:.2f}"),
    "by chance": ("chance_within_one_frame", "{:.2f}"),
    "median offset, ms": ("median_abs_ms", "{:.0f}"),
    "AV-Align": ("av_align", "{:.2f}"),
    "loudness, LUFS": ("loudness_lufs", "{:.1f}"),
}
SET_MARKER = "_visible_events"  # only a set's, or one class's of it, figures hold it
CODEC_MARKER = "_db"  # what a codec loses by itself; other figures under its name are those of a set


@dataclass(frozen=True)
class CardFacts:
    """What the card states.

    Attributes
    ----------
    parameters : component -> number of parameters.
    metrics : data/evaluation/metrics.json.
    rows : the latents' manifest: what the model was trained on.
    defaults : how the release is meant to be used.
    sheet, demo_clip, demo_prompt : the pictures and the clip that the card shows.
    """

    config: Config
    parameters: Mapping[str, int]
    metrics: Mapping[str, float]
    rows: Sequence[LatentRow]
    lineage: Lineage
    defaults: Settings
    sheet: str
    demo_clip: str
    demo_prompt: str


def model_card(facts: CardFacts) -> str:
    """README.md of the release, as Markdown with the header that model hubs read."""
    release, settings = facts.config.release, facts.defaults
    seconds = settings.num_frames / settings.fps
    sections = [
        _header(release.licence),
        f"# {release.name} {release.version}",
        f"A model that generates {seconds:.2f} s of video ({settings.width}x{settings.height}, {settings.num_frames} "
        f"frames at {settings.fps:g} fps) together with its sound ({facts.config.media.sample_rate_hz} Hz, mono) from "
        "a prompt and a first frame. A diffusion transformer for pictures and one for sound exchange what they know in "
        "every layer that both have, through a Bridge whose rotary positions lie on one clock. The folder has the "
        "layout and the parameter names of the MOVA checkpoints.",
        f"![Samples: frames above their waveform]({facts.sheet})",
        f"Each row is a generated clip: frames above its own waveform, on one time axis. [{facts.demo_clip}]"
        f"({facts.demo_clip}) is the demo clip, for the prompt “{facts.demo_prompt}”.",
        "## Use",
        _usage(release.name, settings),
        "## Figures",
        _figures(facts.metrics),
        "## Intended use, and limits",
        _limits(facts.config),
        "## Made from",
        _data(facts.rows, facts.config),
        _parameters(facts.parameters),
        _provenance(facts.lineage),
        "## Licence and credits",
        f"Weights and card: {release.licence}, see LICENSE.",
        "\n".join(f"- {credit}" for credit in release.credits),
        "## Verify",
        "`mova verify DIR` checks every byte against checksums.sha256, and that no part is missing or added. "
        "`sha256sum --check checksums.sha256` does the first of these anywhere.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def sets_in(metrics: Mapping[str, float]) -> list[str]:
    """The names of the measured sets; the figures of single classes belong to a set and are not sets."""
    return sorted(
        name.removesuffix(SET_MARKER)
        for name in metrics
        if name.endswith(SET_MARKER) and f"{name.removesuffix(SET_MARKER)}_clips" in metrics
    )


def _header(licence: str) -> str:
    entries = {
        "license": licence.lower(),
        "pipeline_tag": "image-to-video",
        "tags": "[text-to-video, text-to-audio, joint-audio-video]",
    }
    return "\n".join(["---", *(f"{key}: {value}" for key, value in entries.items()), "---"])


def _usage(name: str, settings: Settings) -> str:
    return f"""```
mova generate --checkpoint {name} --prompt "..." --image first.png --out clip.mp4
```

```python
from mova_core.inference.pipeline import MovaPipeline

pipeline = MovaPipeline.from_pretrained("{name}")
clip = pipeline(prompt="...", image="first.png", seed=0)  # made for {settings.num_steps} steps of {settings.solver}
clip.frames[0], clip.audio[0]  # uint8 [t, {settings.height}, {settings.width}, 3] and [s] at clip.sample_rate_hz
```"""


def _figures(metrics: Mapping[str, float]) -> str:
    sets = sets_in(metrics)
    titles = ["set", *SET_COLUMNS]
    rows = [
        [name, *(_number(metrics, f"{name}_{figure}", form) for figure, form in SET_COLUMNS.values())] for name in sets
    ]
    codecs = {
        name: value for name, value in metrics.items() if name.startswith("codec_") and name.endswith(CODEC_MARKER)
    }
    parts = [
        "Held-out prompts and first frames. An event is seen (a flash, a bounce, a mouth that opens); “within one "
        "frame” is the share of seen events whose sound lies at most one frame away, “by chance” the same share once "
        "pictures and sounds of a class are paired anew. Sets whose name says bridge_off were sampled with the Bridge "
        "switched off. The evaluation's report holds the histograms, each class, and the intervals.",
        _table(titles, rows),
    ]
    if codecs:
        parts.append(_table(["codec", "value"], [[name, f"{value:.1f}"] for name, value in sorted(codecs.items())]))
    return "\n\n".join(parts)


def _limits(config: Config) -> str:
    return (
        f"Trained from the preset `{config.preset}`. It knows what its training data shows and nothing else: other "
        "scenes, faces, voices and places come out as smears, and it speaks no words. It is meant for studying joint "
        "generation, its synchrony and its training, and for testing software that reads this layout; not for showing "
        "events as if they had happened. A clip has one length and one size; other sizes are possible and untested."
    )


def _data(rows: Sequence[LatentRow], config: Config) -> str:
    counts = Counter((row.collection, row.label or "unlabelled", row.split) for row in rows)
    lines = [[*key, str(count)] for key, count in sorted(counts.items())]
    hours = len(rows) * config.media.clip_seconds / 3600
    return f"{len(rows)} clips of {config.media.clip_seconds:.2f} s, {hours:.2f} h:\n\n" + _table(
        ["collection", "shows", "split", "clips"], lines
    )


def _parameters(parameters: Mapping[str, int]) -> str:
    rows = [[name, f"{count:,}"] for name, count in parameters.items()]
    return _table(["part", "parameters"], [*rows, ["together", f"{sum(parameters.values()):,}"]])


def _provenance(lineage: Lineage) -> str:
    state = {True: "edited since", False: "as committed", None: "no git checkout"}[lineage.code_is_dirty]
    rows = [
        ["data commit", lineage.data_commit],
        ["lakeFS commit", lineage.lakefs_commit or "lakeFS was off"],
        ["configuration", lineage.config_hash],
        ["code commit", f"{lineage.code_commit} ({state})"],
        ["source files", lineage.source_hash],
    ]
    return _table(["provenance (lineage.json)", ""], rows)


def _number(metrics: Mapping[str, float], name: str, form: str) -> str:
    return form.format(metrics[name]) if name in metrics else ""


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
