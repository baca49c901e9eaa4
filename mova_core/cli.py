"""`mova`: one verb a step, and the few that are not steps. Bad input ends in one line and exit code 2."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mova_core import __version__
from mova_core.bench.commands import add_gpu_step, add_memory
from mova_core.errors import UserError, as_user_error
from mova_core.inference.commands import add_generate, add_prompts_options, add_refine, run_prompts
from mova_core.inference.processes import index, is_first, refuse_several
from mova_core.progress import say

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
INTERRUPTED = "interrupted; the same command goes on where this one stopped"
REFUSAL_VARIABLE = "MOVA_REFUSAL"
"""Names a file in which the line of a refused command is left for the program that started it."""
SECONDS_FOR_THE_FIRST = 5.0
"""What several processes meet alike is for the first to say. The others, which the launcher ends with it, wait so long
before they speak: one that alone met something is then still there, and heard."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses, runs, and turns what a user can mend into one line on standard error."""
    # Read when torch loads. Waiting threads that spin take the cores from those at work: on two shared cores, one
    # generated clip took four times the CPU time.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    options = build_parser().parse_args(arguments)
    action: Callable[[argparse.Namespace], int] = options.action
    try:
        return action(options)
    except KeyboardInterrupt:
        say(f"mova: {INTERRUPTED}")
        return EXIT_INTERRUPTED
    except Exception as error:
        known = as_user_error(error)
        if known is None:
            raise
        _refuse(known)
        return EXIT_BAD_INPUT


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from mova_core.steps import PHASES, STEPS

    parser = argparse.ArgumentParser(
        prog="mova", description="From raw video to a released joint video and audio model, step by step."
    )
    parser.add_argument("--version", action="version", version=f"mova {__version__}")
    parser.add_argument("--root", type=Path, default=Path("."), help="the folder with params.yaml (default: here)")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    init = verbs.add_parser("init", help="write params.yaml from a preset")
    init.add_argument("--preset", default="nano", help="which preset (default: nano)")
    init.add_argument("--force", action="store_true", help="replace a params.yaml that is there")
    init.add_argument("--print", action="store_true", help="print the preset instead of writing it")
    init.set_defaults(action=_init)

    for verb in dict.fromkeys(step.verb for step in STEPS):
        steps = [step for step in STEPS if step.verb == verb]
        summary = steps[0].summary if len(steps) == 1 else "Train one phase, from the phase before it."
        command = verbs.add_parser(verb, help=summary, description=summary)
        if verb == "train":
            command.add_argument("--phase", required=True, choices=PHASES)
        if steps[0].per_collection:
            command.add_argument("--collection", help="one collection (default: every one of params.yaml)")
        command.set_defaults(action=_run_verb, verb=verb)
        if verb == "corpus":
            command.add_argument("--raw", type=Path, metavar="DIR", help="take the videos in DIR in as a collection")
            command.add_argument("--name", default="", help="what to call that collection (default: as DIR)")
            command.set_defaults(action=_corpus)

        if verb == "sample":
            add_prompts_options(command)
            command.set_defaults(action=_sample)

    add_generate(verbs)
    add_refine(verbs)
    verify = verbs.add_parser("verify", help="check a release folder: every byte and every part")
    verify.add_argument("folder", type=Path, metavar="DIR", help="the release folder")
    verify.set_defaults(action=_verify)

    bench = verbs.add_parser("bench", help="measure this machine; one JSON line each")
    benches = bench.add_subparsers(title="what to measure", required=True, metavar="BENCH")
    summary = "CPU-seconds of one joint step beside a plain implementation's"
    bench_step = benches.add_parser("step", help=summary, description=summary)
    bench_step.add_argument("--train", action="store_true", help="forward and backward")
    bench_step.add_argument("--compile", action="store_true", help="measure torch.compile's layers as well")
    for option in ("--rounds", "--threads", "--context-rows-used"):
        bench_step.add_argument(option, type=int, metavar="N")
    bench_step.set_defaults(action=_bench_step)
    summary = "error against steps of each solver, on a trained model and its held-out clips"
    bench_solvers = benches.add_parser("solvers", help=summary, description=summary)
    bench_solvers.add_argument("--checkpoint", type=Path, metavar="DIR", help="default: as generate")
    bench_solvers.add_argument("--clips", type=int, metavar="N", help="held-out clips (default: 16)")
    bench_solvers.add_argument("--steps", type=int, nargs="+", metavar="N", help="step counts (default: 4 to 50)")
    bench_solvers.add_argument("--reference-steps", type=int, metavar="N", help="of the reference (default: 400)")
    for name, what in (("shift", "of both noise schedules"), ("text-guidance", "s_T"), ("bridge-guidance", "s_B")):
        bench_solvers.add_argument(f"--{name}", type=float, metavar="N", help=f"{what} (default: the checkpoint's own)")
    bench_solvers.add_argument("--out", type=Path, default=Path("docs/benchmarks"), metavar="DIR")
    bench_solvers.set_defaults(action=_bench_solvers)
    add_gpu_step(benches)
    add_memory(benches)

    demo = verbs.add_parser("demo", help="every step, raw video to release, through Dagster")
    demo.set_defaults(action=_demo)
    doctor = verbs.add_parser("doctor", help="say what this machine can run, what is missing and how to get it")
    doctor.set_defaults(action=_doctor)
    return parser


def _init(options: argparse.Namespace) -> int:
    from mova_core.config import parse_config, preset_names, preset_text
    from mova_core.files import write_text
    from mova_core.workspace import Workspace

    text = preset_text(options.preset)
    if options.print:
        _show(text)
        return 0
    path = Workspace(options.root).params
    # An untouched preset is replaced without asking: nothing of the user's would be lost.
    presets = [preset_text(name).encode() for name in preset_names()]
    untouched = not path.exists() or path.read_bytes() in presets
    if not untouched and not options.force:
        raise UserError(
            f"{path} was edited", expected="no configuration there, or a preset as it came", remedy="use --force"
        )
    parse_config(text, source=f"preset {options.preset}")
    write_text(path, text)
    print(f"wrote {path} from preset {options.preset}")
    return 0


def _run_verb(options: argparse.Namespace) -> int:
    from mova_core.config import load_config
    from mova_core.steps import STEPS, run_step
    from mova_core.workspace import Workspace

    if options.verb == "sample":
        refuse_several(options.verb)
    workspace = Workspace(options.root.resolve())
    config = load_config(workspace.params)
    phase = getattr(options, "phase", None)
    for step in STEPS:
        if step.verb != options.verb or (phase is not None and step.arguments["phase"] != phase):
            continue
        named = getattr(options, "collection", None)
        if named is not None and named not in config.collections:
            raise UserError(
                f"no collection named {named!r}",
                expected=f"one of {', '.join(config.collections)}",
                remedy=f"add it to `collections` in {workspace.params}",
            )
        collections = ([named] if named else list(config.collections)) if step.per_collection else [None]
        for collection in collections:
            print(run_step(step, config, workspace, collection).summary())
    return 0


def _sample(options: argparse.Namespace) -> int:
    own = options.prompts is not None or options.out is not None
    return run_prompts(options) if own else _run_verb(options)


def _corpus(options: argparse.Namespace) -> int:
    from mova_core.config import load_config
    from mova_core.workspace import Workspace

    if options.raw is None:
        return _run_verb(options)
    from mova_core.curation.corpus.adopting import adopt_folder

    workspace = Workspace(options.root.resolve())
    report = adopt_folder(load_config(workspace.params), workspace, options.raw, options.name)
    print("\n".join((report.summary(), *report.notes)))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from mova_core.release.verify import verify_release

    problems = verify_release(options.folder)
    print("\n".join(problems) or f"{options.folder} is whole: every file is as it was released")
    return EXIT_BAD_INPUT if problems else 0


def _bench_step(options: argparse.Namespace) -> int:
    import json

    from mova_core.bench.step import run_step_bench
    from mova_core.bench.step_subject import StepBench

    given = {name: getattr(options, name) for name in ("rounds", "threads", "context_rows_used")}
    bench = StepBench(
        train=options.train,
        compile=options.compile,
        **{name: value for name, value in given.items() if value is not None},
    )
    print(json.dumps(run_step_bench(bench)))
    return 0


def _bench_solvers(options: argparse.Namespace) -> int:
    import json

    from mova_core.bench.solvers import SolverBench, run_solver_bench, write_curve
    from mova_core.workspace import Workspace

    own = ("reference_steps", "shift", "text_guidance", "bridge_guidance")
    given: dict[str, Any] = {"num_clips": options.clips, **{name: getattr(options, name) for name in own}}
    if options.steps is not None:
        given["step_counts"] = tuple(sorted(set(options.steps)))
    bench = SolverBench(**{name: value for name, value in given.items() if value is not None})
    result = run_solver_bench(Workspace(options.root), options.checkpoint, bench)
    paths = [str(path) for path in write_curve(result, options.out)]
    print(json.dumps({"bench": "solvers", "steps_to_usual_error": result["steps_to_usual_error"], "wrote": paths}))
    return 0


def _demo(options: argparse.Namespace) -> int:
    from mova_core.demo import run_demo

    return run_demo(options.root.resolve())


def _doctor(options: argparse.Namespace) -> int:
    from mova_core.doctor import examine

    examination = examine(options.root.resolve())
    _show(examination.text() + "\n")
    return 0 if examination.runs_nano else 1


def _refuse(error: UserError) -> None:
    """Says what is wrong, to the user and to whoever wants to pass it on."""
    if is_first():
        say(f"mova: {error}")
    else:
        time.sleep(SECONDS_FOR_THE_FIRST)
        print(f"mova: process {index()}: {error}", file=sys.stderr, flush=True)
    place = os.environ.get(REFUSAL_VARIABLE)
    if place:
        with contextlib.suppress(OSError), open(place, "w", encoding="utf-8") as stream:
            stream.write(str(error))


def _show(text: str) -> None:
    """Prints a page; a reader that closes early, such as `head`, has simply seen enough."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at exit


if __name__ == "__main__":
    sys.exit(main())
