"""The codecs that the configuration asks for: fitted on training clips, or loaded from folders, and kept for good."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch

from mova_core.codecs.arrays import audio_tensor, video_tensor
from mova_core.codecs.base import (
    TEXT_FOLDER,
    TOKENIZER_FOLDER,
    AudioCodec,
    Codecs,
    TextEncoder,
    VideoCodec,
    load_audio_codec,
    load_codecs,
    load_text_encoder,
    load_video_codec,
)
from mova_core.codecs.nano_audio import NanoAudioCodec, NanoAudioFitter
from mova_core.codecs.nano_video import NanoVideoFitter
from mova_core.codecs.reading import DecodedClip
from mova_core.codecs.text import MiniLmTextEncoder
from mova_core.config import Config
from mova_core.config.encode import EncodeConfig
from mova_core.errors import UserError
from mova_core.files import content_id, flush_to_disk, sha256_of_file, sizes_of, write_text
from mova_core.progress import say, track
from mova_core.workspace import Workspace

# Raised when the same settings and clips would give other codecs or latents than before.
ENCODING_VERSION = 1
FINGERPRINT_FILE = "fingerprint.json"


def codecs_fingerprint(config: Config, workspace: Workspace, fit_clip_ids: Sequence[str]) -> str:
    """An id of everything the codecs come from: settings, the clips they are fitted on, the files they are loaded from.

    Raises
    ------
    UserError : if a folder that the settings name is absent, or lies where the codecs are about to be written.
    """
    encode = config.encode
    parts: list[object] = [ENCODING_VERSION, encode.video.fit, encode.audio.fit, encode.text.minilm]
    if needs_fit(encode):
        parts += [encode.resolutions, encode.loudness_lufs, config.media.sample_rate_hz, *fit_clip_ids]
    for folder in (encode.video.folder, encode.audio.folder):
        if folder is not None:
            parts += _file_digests(_located(folder, workspace))
    if encode.text.folder is not None:
        text_folder = _located(encode.text.folder, workspace)
        parts += _file_digests(text_folder / TEXT_FOLDER) + _file_digests(text_folder / TOKENIZER_FOLDER)
    return content_id(*parts)


def kept_fingerprint(folder: Path) -> str | None:
    """The fingerprint of the codecs that are whole in `folder`, or None."""
    try:
        kept = json.loads((folder / FINGERPRINT_FILE).read_text(encoding="utf-8"))
        fingerprint: str = kept["fingerprint"]
        there = sizes_of(folder)
        is_whole = all(there.get(name) == size for name, size in kept.get("files", {}).items())
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return fingerprint if is_whole else None


def make_codecs(
    config: Config,
    workspace: Workspace,
    fingerprint: str,
    num_fit_clips: int,
    read_fit_clips: Callable[[], Iterable[DecodedClip]],
) -> Codecs:
    """The codecs of `fingerprint`: those in the workspace if they are the ones, else made and saved there.

    read_fit_clips : called if something is to be fitted; gives the clips with every resolution of the configuration.

    Raises
    ------
    UserError : if a folder does not load, or there is nothing to fit on.
    """
    folder = workspace.codecs
    if kept_fingerprint(folder) == fingerprint:
        return load_codecs(folder)
    shutil.rmtree(folder, ignore_errors=True)
    video, audio = _fit(config, num_fit_clips, read_fit_clips) if needs_fit(config.encode) else (None, None)
    if video is None:
        video = load_video_codec(_located(config.encode.video.folder, workspace))
    if audio is None:
        audio = load_audio_codec(_located(config.encode.audio.folder, workspace))
    codecs = Codecs(video, audio, _text_encoder(config.encode, workspace))
    if codecs.audio.sample_rate_hz != config.media.sample_rate_hz:
        raise UserError(
            f"the audio codec runs at {codecs.audio.sample_rate_hz} Hz, clips at {config.media.sample_rate_hz}",
            expected="one rate",
            remedy="set media.sample_rate_hz to the codec's rate and curate again",
        )
    codecs.save(folder)
    for path in folder.rglob("*"):
        flush_to_disk(path)
    sizes = sizes_of(folder)
    write_text(folder / FINGERPRINT_FILE, json.dumps({"fingerprint": fingerprint, "files": sizes}) + "\n")
    return codecs


def needs_fit(encode: EncodeConfig) -> bool:
    """Whether a codec is fitted on training clips."""
    return encode.video.fit is not None or encode.audio.fit is not None


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Holds torch to one thread while decoders have the other cores, and makes sums independent of the core count."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _fit(
    config: Config, num_clips: int, read_clips: Callable[[], Iterable[DecodedClip]]
) -> tuple[VideoCodec | None, AudioCodec | None]:
    if num_clips == 0:
        raise UserError(
            "there is no clip of the train split to fit codecs on",
            expected="curated clips in at least one collection",
            remedy="look at data/clips/*/rejects.parquet, or add videos",
        )
    encode = config.encode
    video = NanoVideoFitter(encode.video.fit.latent_channels) if encode.video.fit else None
    audio = NanoAudioFitter(_empty_audio_codec(config)) if encode.audio.fit else None
    say(f"fitting codecs on {num_clips} training clips")
    with one_torch_thread():
        for clip in track(read_clips(), "fit codecs", num_clips):
            if video:
                for frames in clip.frames.values():
                    video.add(video_tensor(frames[None])[0])
            if audio:
                for waveform in (clip.waveform, clip.levelled):
                    audio.add(audio_tensor(waveform[None])[0])
        return video.finish() if video else None, audio.finish() if audio else None


def _empty_audio_codec(config: Config) -> NanoAudioCodec:
    fit = config.encode.audio.fit
    assert fit is not None
    return NanoAudioCodec(
        sample_rate_hz=config.media.sample_rate_hz,
        hop=fit.hop_samples,
        overlap=fit.overlap_samples,
        compand_power=fit.compand_power,
        latent_channels=fit.latent_channels,
    )


def _text_encoder(encode: EncodeConfig, workspace: Workspace) -> TextEncoder:
    if encode.text.minilm:
        return MiniLmTextEncoder.from_package(encode.text.minilm.max_tokens)
    return load_text_encoder(_located(encode.text.folder, workspace))


def _located(folder: str | None, workspace: Workspace) -> Path:
    """A folder that the settings name, relative to the workspace's root."""
    assert folder is not None, "the settings name either a folder or what is made here"
    path = workspace.root / folder
    if path.resolve().is_relative_to(workspace.codecs.resolve()):
        raise UserError(
            f"`encode` names {folder}, which is its own output",
            expected="a folder outside data/latents",
            remedy="copy it elsewhere and name the copy",
        )
    return path


def _file_digests(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise UserError(
            f"no folder {folder}",
            expected="a component of a release, as params.yaml's `encode` section names it",
            remedy="mend the path there, or fit the nano codecs (`mova init --preset nano --print` shows how)",
        )
    return [f"{path.name} {sha256_of_file(path)}" for path in sorted(folder.iterdir()) if path.is_file()]
