"""The verbs around sampling as the command line has them. Loads no torch and nothing heavy until one runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]


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
    add_refiner_options(refine)
    refine.set_defaults(action=_refine)


def add_refiner_options(command: argparse.ArgumentParser) -> None:
    """Which server refines, for `mova refine` and for the verbs that refine before they sample."""
    command.add_argument(
        "--url", metavar="URL", help="an OpenAI-compatible server, up to /v1 (default: MOVA_REFINE_URL, else rules)"
    )
    command.add_argument("--model", metavar="NAME", help="what the server calls its model (default: MOVA_REFINE_MODEL)")


def _refine(options: argparse.Namespace) -> int:
    from mova_core.inference.refinement import choose_refiner

    print(choose_refiner(options.url, options.model).refine(options.prompt, options.image).to_json())
    return 0
