"""The verbs around sampling as the command line has them. Loads no torch and nothing heavy until one runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mova_core.errors import UserError

if TYPE_CHECKING:
    from mova_core.inference.refinement import Refiner
    from mova_core.inference.request import ClipRequest
    from mova_core.inference.running import RunOptions

    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]

MEANT = "default: what the checkpoint is meant for"
FILES = ("image", "last_image", "video", "audio", "extend")
NUMBERS: dict[str, tuple[type, str]] = {
    "height": (int, "pixels, a multiple of 16"),
    "width": (int, "pixels, a multiple of 16"),
    "frames": (int, "length in frames, 4k+1"),
    "seconds": (float, "length in seconds, instead of --frames"),
    "total_seconds": (float, "with --extend: how long the whole clip is to become; by default one length more"),
    "fps": (float, "frames a second"),
    "steps": (int, "solver steps"),
    "text_guidance": (float, "how closely the prompt is followed; 1 is none"),
    "bridge_guidance": (float, "how closely picture and sound follow each other; 1 is none"),
    "audio_text_guidance": (float, "as --text-guidance, for the sound alone"),
    "audio_bridge_guidance": (float, "as --bridge-guidance, for the sound alone"),
    "video_shift": (float, "of the picture's noise schedule"),
    "audio_shift": (float, "of the sound's noise schedule"),
}


def add_generate(verbs: Verbs) -> None:
    """`mova generate`."""
    generate = verbs.add_parser(
        "generate",
        help="make one clip with sound from a prompt",
        description="Makes one clip with sound: from a prompt, and from pictures, a video or a sound where given. "
        "Beside the mp4 lies a record of what made it (FILE.mp4.json); the mp4 carries it too. "
        "`torchrun --nproc-per-node N -m mova_core generate ...` spreads a clip over N processes.",
    )
    generate.add_argument("--prompt", required=True, help="what is seen and heard")
    generate.add_argument("--negative-prompt", default="", metavar="TEXT", help="what to guide away from")
    generate.add_argument("--image", type=Path, metavar="FILE", help="the first frame, in any size")
    generate.add_argument("--last-image", type=Path, metavar="FILE", help="the last frame, in any size")
    generate.add_argument("--video", type=Path, metavar="FILE", help="a video to give a sound: its frames are kept")
    generate.add_argument("--audio", type=Path, metavar="FILE", help="a sound to give pictures: it is kept")
    generate.add_argument(
        "--extend", type=Path, metavar="FILE", help="a clip with sound to go on from; all of it is kept"
    )
    generate.add_argument("--out", type=Path, required=True, metavar="FILE.mp4", help="where to write the clip")
    _add_sampling_options(generate)
    generate.set_defaults(action=_generate)


def add_prompts_options(sample: argparse.ArgumentParser) -> None:
    """`mova sample --prompts`, beside the lineage's own `mova sample`."""
    own = sample.add_argument_group(
        "your own prompts",
        "Without --prompts the lineage's sets are sampled, as params.yaml says, and none of these count. "
        "`torchrun --nproc-per-node N -m mova_core sample --prompts ...` shares the clips among N processes.",
    )
    own.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE.jsonl",
        help="one clip a line: an object with prompt, and where wanted id, negative_prompt, image, last_image, video, "
        "audio, extend, seed, and the settings below (text_guidance, steps, ...), which then count for that line",
    )
    own.add_argument("--out", type=Path, metavar="DIR", help="where clips and manifest.jsonl go; run again to go on")
    own.add_argument("--batch-size", type=int, default=1, metavar="N", help="clips made at once (default: 1)")
    own.add_argument("--replace", action="store_true", help="make clips again whose settings changed")
    own.add_argument(
        "--parallel",
        choices=("prompts", "sequence"),
        default="prompts",
        help="what the processes of torchrun share: prompts, where each makes every N-th batch by itself and the clips "
        "are those of one process with as many threads, bit for bit; or sequence, the tokens of each clip, for when "
        "clips are fewer than processes and N divides the model's heads (default: prompts)",
    )
    _add_sampling_options(own)


def add_refine(verbs: Verbs) -> None:
    """`mova refine`."""
    summary = "put a prompt into the form of the training captions: seen, said, heard"
    refine = verbs.add_parser(
        "refine",
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. Without a server the sentences are sorted by rules and "
        "nothing is added. The server's key is read from MOVA_REFINE_KEY alone.",
    )
    refine.add_argument("--prompt", required=True, help="what is seen and heard, in your own words")
    refine.add_argument("--image", type=Path, metavar="FILE", help="the clip's first frame, for a model that sees")
    _add_refiner_options(refine)
    refine.set_defaults(action=_refine)


def _add_sampling_options(command: argparse._ActionsContainer) -> None:
    command.add_argument("--checkpoint", type=Path, metavar="DIR", help="default: the newest phase's, else the release")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="another seed is another clip (default: 0)")
    for name, (kind, text) in NUMBERS.items():
        meant = text if name in ("seconds", "total_seconds") else f"{text} ({MEANT})"
        command.add_argument(_option(name), type=kind, metavar="N", help=meant)
    command.add_argument(
        "--solver",
        choices=("euler", "multistep"),
        help=f"how steps are taken: multistep comes as near in 20 to 30 as euler in 50 ({MEANT})",
    )
    command.add_argument(
        "--first-frame",
        choices=("white", "masked"),
        help=f"what stands in without --image: a white picture, or no condition at all ({MEANT})",
    )
    command.add_argument(
        "--device", choices=("auto", "cuda", "cpu"), default="auto", help="default: a GPU if there is one"
    )
    command.add_argument(
        "--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help=f"of matrix products ({MEANT})"
    )
    command.add_argument(
        "--vae-dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="what the video VAE computes in: bfloat16 takes half the memory, and colours differ by a level or so "
        "(default: float32)",
    )
    command.add_argument(
        "--memory",
        choices=("auto", "resident", "swap", "stream"),
        default="auto",
        help="weights all on the device, one expert at a time, or layer by layer (default: the fastest that fits)",
    )
    command.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile the layers: minutes at first, then fewer passes over memory",
    )
    command.add_argument(
        "--preview-every",
        type=int,
        default=0,
        metavar="N",
        help="write FILE.mp4.preview.png every N steps (default: never)",
    )
    command.add_argument("--lossless-audio", action="store_true", help="also write the sound as FILE.mp4.wav")
    command.add_argument("--refine", action="store_true", help="refine the prompt first, as `mova refine` does")
    _add_refiner_options(command)


def _add_refiner_options(command: argparse._ActionsContainer) -> None:
    """Which server refines, for `mova refine` and for the verbs that refine before they sample."""
    command.add_argument(
        "--url", metavar="URL", help="an OpenAI-compatible server, up to /v1 (default: MOVA_REFINE_URL, else rules)"
    )
    command.add_argument("--model", metavar="NAME", help="what the server calls its model (default: MOVA_REFINE_MODEL)")


def _generate(options: argparse.Namespace) -> int:
    from mova_core.inference.generate import generate_clip
    from mova_core.workspace import Workspace

    done = generate_clip(
        Workspace(options.root),
        _request(options),
        options.out,
        checkpoint=options.checkpoint,
        options=_run_options(options),
        refiner=_refiner(options),
    )
    if done:
        print(done)
    return 0


def run_prompts(options: argparse.Namespace) -> int:
    """`mova sample --prompts FILE --out DIR`."""
    from mova_core.inference.prompts import sample_prompts
    from mova_core.workspace import Workspace

    if options.prompts is None or options.out is None:
        raise UserError(
            f"{'--out' if options.prompts is None else '--prompts'} is given alone",
            expected="--prompts and --out together, or neither for the lineage's own sets",
            remedy="add the other one",
        )
    done = sample_prompts(
        Workspace(options.root),
        options.prompts,
        options.out,
        common=_common(options),
        checkpoint=options.checkpoint,
        options=_run_options(options),
        refiner=_refiner(options),
        batch_size=options.batch_size,
        replace=options.replace,
        parallel=options.parallel,
    )
    if done:
        print(done)
    return 0


def _refine(options: argparse.Namespace) -> int:
    from mova_core.inference.refinement import choose_refiner

    print(choose_refiner(options.url, options.model).refine(options.prompt, options.image).to_json())
    return 0


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _common(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of a clip, by the fields of `ClipRequest`."""
    names = ("negative_prompt", "seed", "solver", "first_frame", *NUMBERS)
    return {name: value for name in names if (value := getattr(options, name, None)) is not None}


def _request(options: argparse.Namespace) -> ClipRequest:
    from mova_core.inference.request import ClipRequest

    files = {name: path for name in FILES if (path := getattr(options, name)) is not None}
    return ClipRequest(prompt=options.prompt, **files, **_common(options))


def _run_options(options: argparse.Namespace) -> RunOptions:
    from mova_core.inference.running import RunOptions

    return RunOptions(
        options.device,
        options.dtype,
        options.preview_every,
        options.lossless_audio,
        options.memory,
        compile=options.compile,
        vae_dtype=options.vae_dtype,
    )


def _refiner(options: argparse.Namespace) -> Refiner | None:
    from mova_core.inference.refinement import choose_refiner

    return choose_refiner(options.url, options.model) if options.refine else None
