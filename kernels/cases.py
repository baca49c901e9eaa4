"""The one table of shapes, dtypes and tolerances, read by tests, the ahead-of-time check and the benchmark.

Shapes are those of the released model (report, section 3): 193 frames make 49 latent frames, of 22 x 40 tokens at
352 x 640 and 45 x 80 at 720 x 1280; 403 audio tokens; the video tower is 40 heads of 128 wide, the audio tower 12.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Generic, Literal, TypeVar

import torch

ShapeT = TypeVar("ShapeT")

FRAMES = 49
GRIDS = {"360p": (FRAMES, 22, 40), "720p": (FRAMES, 45, 80)}
AUDIO_TOKENS = 403
VIDEO_HEADS, AUDIO_HEADS, HEAD_DIM = 40, 12, 128

Layout = Literal["halves", "interleaved"]
NormOnLoad = Literal["neither", "queries", "keys", "both"]
"""Which of the Bridge's queries and keys are normed and rotated while attention loads them."""


@dataclasses.dataclass(frozen=True)
class NormRotateShape:
    """RMSNorm and rotation.

    Attributes
    ----------
    grid : tokens along (frame, row, column).
    split : channel pairs of a head that turn with (frame, row, column); their sum is half the head.
    first_token : index in the grid of the first token given.
    num_tokens : tokens given, or None for all from there.
    """

    batch: int
    grid: tuple[int, int, int]
    num_heads: int
    head_dim: int
    split: tuple[int, int, int]
    layout: Layout
    first_token: int = 0
    num_tokens: int | None = None

    @property
    def length(self) -> int:
        """Tokens given."""
        return math.prod(self.grid) - self.first_token if self.num_tokens is None else self.num_tokens


@dataclasses.dataclass(frozen=True)
class Case(Generic[ShapeT]):
    """One row of the table.

    Attributes
    ----------
    operator : of `kernels.dispatch.OPERATORS`.
    name : unique within the operator.
    small : for the interpreter; the others are the model's, for a GPU and for the ahead-of-time check.
    representative : compiled in the quick tests; all are in the slow ones.
    exhaustive : of the small ones, those that only the slow tests run.
    """

    operator: str
    name: str
    shape: ShapeT
    dtype: torch.dtype
    small: bool = False
    representative: bool = False
    exhaustive: bool = False


def _model_norm_rotate() -> tuple[Case[NormRotateShape], ...]:
    half = HEAD_DIM // 2
    third = HEAD_DIM // 3 // 2
    aligned, axes = (half, 0, 0), (half - 2 * third, third, third)
    audio = (AUDIO_TOKENS, 1, 1)
    shapes = {
        **{f"bridge_video_{size}": (grid, VIDEO_HEADS, aligned, "halves") for size, grid in GRIDS.items()},
        "bridge_audio_keys": (audio, VIDEO_HEADS, aligned, "halves"),
        "bridge_audio_queries": (audio, AUDIO_HEADS, aligned, "halves"),
        **{f"bridge_video_keys_{size}": (grid, AUDIO_HEADS, aligned, "halves") for size, grid in GRIDS.items()},
        **{f"tower_video_{size}": (grid, VIDEO_HEADS, axes, "interleaved") for size, grid in GRIDS.items()},
        "tower_audio": (audio, AUDIO_HEADS, aligned, "interleaved"),
    }
    return tuple(
        Case("norm_rotate", name, NormRotateShape(1, grid, heads, HEAD_DIM, split, layout), torch.bfloat16)  # type: ignore[arg-type]  # a literal
        for name, (grid, heads, split, layout) in shapes.items()
    )


def _other_dtypes() -> tuple[Case[NormRotateShape], ...]:
    shape = NormRotateShape(1, GRIDS["360p"], VIDEO_HEADS, HEAD_DIM, (64, 0, 0), "halves")
    return tuple(
        Case("norm_rotate", f"bridge_video_360p_{str(dtype).removeprefix('torch.')}", shape, dtype)
        for dtype in (torch.float16, torch.float32)
    )


def _small_norm_rotate() -> tuple[Case[NormRotateShape], ...]:
    shapes = {
        "frames": NormRotateShape(2, (3, 1, 2), 3, 12, (6, 0, 0), "halves"),
        "axes": NormRotateShape(1, (2, 3, 2), 3, 20, (4, 3, 3), "interleaved"),
        "one_axis": NormRotateShape(1, (7, 1, 1), 2, 16, (8, 0, 0), "interleaved"),
        "part_of_a_clip": NormRotateShape(1, (3, 2, 2), 1, 8, (4, 0, 0), "halves", first_token=3, num_tokens=5),
    }
    return tuple(
        Case("norm_rotate", f"{name}_{str(dtype).removeprefix('torch.')}", shape, dtype, small=True)
        for name, shape in shapes.items()
        for dtype in (torch.float32, torch.float16)
    )


REPRESENTATIVE = {"bridge_video_360p", "tower_video_360p"}

NORM_ROTATE: tuple[Case[NormRotateShape], ...] = tuple(
    dataclasses.replace(case, representative=case.name in REPRESENTATIVE)
    for case in (*_model_norm_rotate(), *_other_dtypes(), *_small_norm_rotate())
)


@dataclasses.dataclass(frozen=True)
class AdaLNShape:
    """Tokens and their modulation.

    Attributes
    ----------
    per_token : whether every token has a timestep of its own, or every sample one.
    """

    batch: int
    length: int
    width: int
    per_token: bool = False


def adaln_cases(operator: str) -> tuple[Case[AdaLNShape], ...]:
    """The towers' shapes, and small ones, for one of the two operators."""
    video, audio = VIDEO_HEADS * HEAD_DIM, AUDIO_HEADS * HEAD_DIM
    tokens = {size: math.prod(grid) for size, grid in GRIDS.items()}
    model = {
        "tower_video_360p": (AdaLNShape(1, tokens["360p"], video), torch.bfloat16),
        "tower_video_720p": (AdaLNShape(1, tokens["720p"], video), torch.bfloat16),
        "tower_audio": (AdaLNShape(1, AUDIO_TOKENS, audio), torch.bfloat16),
        "tower_video_360p_per_token": (AdaLNShape(1, tokens["360p"], video, per_token=True), torch.bfloat16),
        "tower_video_360p_float16": (AdaLNShape(1, tokens["360p"], video), torch.float16),
        "tower_video_360p_float32": (AdaLNShape(1, tokens["360p"], video), torch.float32),
    }
    small = {
        "two_samples": AdaLNShape(2, 9, 24),
        "per_token": AdaLNShape(2, 5, 20, per_token=True),
        "one_token": AdaLNShape(3, 1, 7),
    }
    return (
        *(
            Case(operator, name, shape, dtype, representative=name == "tower_video_360p")
            for name, (shape, dtype) in model.items()
        ),
        *(
            Case(operator, f"{name}_{str(dtype).removeprefix('torch.')}", shape, dtype, small=True)
            for name, shape in small.items()
            for dtype in (torch.float32, torch.float16)
        ),
    )


MODULATED_NORM = adaln_cases("modulated_norm")
GATED_RESIDUAL = adaln_cases("gated_residual")


@dataclasses.dataclass(frozen=True)
class BridgeAttentionShape:
    """One direction of the Bridge's attention.

    Attributes
    ----------
    padded : whether keys are masked and lengths differ from sample to sample.
    added : whether the output is scaled and added to a residual.
    """

    batch: int
    num_queries: int
    num_keys: int
    num_heads: int
    head_dim: int
    padded: bool = False
    added: bool = False


@dataclasses.dataclass(frozen=True)
class BridgeLayerShape:
    """Both directions at one layer, each from projected queries, keys and values to scale and residual.

    Attributes
    ----------
    grid : video tokens along (frame, row, column).
    norm_on_load : as in `kernels.bridge_attention.normed_bridge_attention`, for the direction that video or audio asks.
    """

    batch: int
    grid: tuple[int, int, int]
    num_audio_tokens: int
    video_heads: int
    audio_heads: int
    head_dim: int
    norm_on_load: tuple[NormOnLoad, NormOnLoad] = ("neither", "neither")


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _model_bridge_attention() -> tuple[Case[BridgeAttentionShape], ...]:
    shapes = {}
    for size, grid in GRIDS.items():
        video = math.prod(grid)
        shapes[f"audio_to_video_{size}"] = BridgeAttentionShape(1, video, AUDIO_TOKENS, VIDEO_HEADS, HEAD_DIM)
        shapes[f"video_to_audio_{size}"] = BridgeAttentionShape(1, AUDIO_TOKENS, video, AUDIO_HEADS, HEAD_DIM)
    bfloat16 = tuple(
        Case("bridge_attention", f"bridge_attention_{name}", shape, torch.bfloat16) for name, shape in shapes.items()
    )
    full = {"padded": True, "added": True}
    padded = tuple(
        Case("bridge_attention", f"bridge_attention_{name}_padded", dataclasses.replace(shape, **full), torch.bfloat16)
        for name, shape in shapes.items()
        if name.endswith("360p")
    )
    others = tuple(
        Case("bridge_attention", f"bridge_attention_{name}_{_dtype_name(dtype)}", shapes[name], dtype)
        for name in ("audio_to_video_360p", "video_to_audio_360p")
        for dtype in (torch.float16, torch.float32)
    )
    return (*bfloat16, *padded, *others)


def _small_bridge_attention() -> tuple[Case[BridgeAttentionShape], ...]:
    shapes = {
        "padded": (BridgeAttentionShape(2, 37, 43, 1, 12, padded=True, added=True), torch.float32),
        "many_queries": (BridgeAttentionShape(1, 71, 13, 1, 16), torch.float16),
        "many_keys": (BridgeAttentionShape(1, 9, 101, 1, 20, added=True), torch.float32),
    }
    return tuple(
        Case("bridge_attention", f"{name}_{_dtype_name(dtype)}", shape, dtype, small=True, exhaustive=dtype != quick)
        for name, (shape, quick) in shapes.items()
        for dtype in (torch.float32, torch.float16)
    )


BRIDGE_ATTENTION: tuple[Case[BridgeAttentionShape], ...] = tuple(
    dataclasses.replace(case, representative=case.name == "bridge_attention_audio_to_video_360p")
    for case in (*_model_bridge_attention(), *_small_bridge_attention())
)


def _model_bridge_layer() -> tuple[Case[BridgeLayerShape], ...]:
    on_load: dict[str, tuple[NormOnLoad, NormOnLoad]] = {
        "": ("neither", "neither"),
        "_norm_on_load": ("queries", "keys"),
    }
    return tuple(
        Case(
            "bridge_layer",
            f"bridge_layer_{size}{suffix}",
            BridgeLayerShape(1, grid, AUDIO_TOKENS, VIDEO_HEADS, AUDIO_HEADS, HEAD_DIM, norm_on_load),
            torch.bfloat16,
            representative=size == "360p" and not suffix,
        )
        for size, grid in GRIDS.items()
        for suffix, norm_on_load in on_load.items()
    )


def _small_bridge_layer() -> tuple[Case[BridgeLayerShape], ...]:
    shape = BridgeLayerShape(1, (3, 2, 3), 11, 2, 1, 12)
    kinds: dict[str, tuple[tuple[NormOnLoad, NormOnLoad], torch.dtype]] = {
        "norm_on_load": (("queries", "keys"), torch.float32),
        "norm_before": (("neither", "neither"), torch.float32),
        "norm_all_on_load": (("both", "both"), torch.float16),
    }
    return tuple(
        Case(
            "bridge_layer",
            name,
            dataclasses.replace(shape, norm_on_load=on_load),
            dtype,
            small=True,
            exhaustive=name != "norm_on_load",
        )
        for name, (on_load, dtype) in kinds.items()
    )


BRIDGE_LAYER: tuple[Case[BridgeLayerShape], ...] = (*_model_bridge_layer(), *_small_bridge_layer())


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """Bounds on two error measures of `kernels.testing.errors`.

    Attributes
    ----------
    mean : of |ours - reference| / |reference|, both as Euclidean norms over the whole tensor.
    largest : of the largest single difference over the largest reference value.
    """

    mean: float
    largest: float


def tolerance(dtype: torch.dtype, *, terms: int, roundings: int = 1) -> Tolerance:
    """What rounding explains, and nothing more.

    A result that is stored in `dtype` carries `roundings` relative errors of at most u = eps(dtype)/2 each. A float32
    sum of n terms carries a relative error that grows as sqrt(n) * 2^-24 when rounding errors are independent (Higham,
    Accuracy and Stability of Numerical Algorithms, section 2.8: the rule of thumb for probabilistic bounds); we allow
    four standard deviations of it. Worst elements may lie where all errors add up: they get twice the room.

    Parameters
    ----------
    dtype : in which the result, or the inputs it is recomputed from, are stored.
    terms : the longest sum on the way.
    roundings : how often a value is rounded to `dtype` on the way.
    """
    unit = torch.finfo(dtype).eps / 2
    bound = roundings * unit + 4 * math.sqrt(terms) * torch.finfo(torch.float32).eps / 2
    return Tolerance(mean=bound, largest=2 * bound)
