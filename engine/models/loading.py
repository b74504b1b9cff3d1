"""A model and its tokenizer, loaded for measuring: evaluation mode, no dropout, no gradients, no cache.

Device, precision and attention are chosen by stated rules, never changed silently; `notes` says what was chosen and
why. Weights come from safetensors on this machine only; code shipped with a model is never run.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from engine.errors import EngineError
from engine.models.sources import ModelSource, check_folder

if TYPE_CHECKING:
    from engine.models.batches import Batch

Attention = Literal["auto", "sdpa", "eager"]
DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}
LENGTH_FIELDS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
UNSTATED_LENGTH = 2048
_LOAD_ERRORS = (OSError, ValueError, KeyError, ImportError, RuntimeError, TypeError, AttributeError, SafetensorError)


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model ready to measure. `max_length` is in tokens; `notes` are sentences for the reader."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    dtype: torch.dtype
    max_length: int
    pad_id: int
    name: str
    notes: tuple[str, ...]

    @property
    def vocabulary(self) -> int:
        """How many token ids the model embeds; a larger id cannot be run."""
        return _vocabulary(self.model)

    def logits(self, batch: "Batch") -> torch.Tensor:
        """The logits (B, T, V) of a batch, in the model's precision; logits at s predict the token at s+1."""
        return self.model(input_ids=batch.ids, attention_mask=batch.attention, use_cache=False).logits


def load(
    source: ModelSource | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    attention: str = "auto",
    max_length: int | None = None,
) -> LanguageModel:
    """Load the model of `source`.

    `device`: auto (CUDA, else MPS, else CPU), cpu, mps, cuda, cuda:N. `dtype`: auto (float32; bfloat16 on a CUDA
    device that has it, if the weights are stored in half precision) or one of `DTYPES`. `attention`: auto (the
    model's fastest of sdpa and eager), sdpa, eager. `max_length` caps the model's own limit. Raises `EngineError`.
    """
    path = source.path if isinstance(source, ModelSource) else Path(source)
    check_folder(path)
    with _quiet():
        config = _config(path)
        target, device_note = choose_device(device)
        precision, dtype_note = choose_dtype(dtype, device=target, stored=_stored_dtype(config))
        tokenizer = _tokenizer(path)
        model, weight_notes = _model(path, config, precision, target, attention)
    weight_notes += _check_vocabulary(tokenizer, model, path)
    limit, length_note = _length(model.config, tokenizer, max_length)
    notes = (device_note, dtype_note, _attention_note(model, attention), length_note, *weight_notes)
    name = source.name if isinstance(source, ModelSource) else str(source)
    return LanguageModel(model, tokenizer, target, precision, limit, _pad_id(tokenizer), name, notes)


def choose_device(device: str) -> tuple[torch.device, str]:
    """The torch device for a name, and a sentence saying why; `EngineError` where it is not available."""
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        found = "cuda" if has_cuda else "mps" if has_mps else "cpu"
        why = {"cuda": "a CUDA GPU is available", "mps": "no CUDA GPU, MPS is available", "cpu": "no GPU is available"}
        return torch.device(found), f"device {found}: chosen because {why[found]}"
    try:
        target = torch.device(device)
    except RuntimeError:
        raise EngineError(f"device is {device!r}; it must be auto, cpu, mps, cuda or cuda:N.") from None
    available = {"cpu": True, "mps": has_mps, "cuda": has_cuda and (target.index or 0) < torch.cuda.device_count()}
    if target.type not in available:
        raise EngineError(f"device is {device!r}; it must be auto, cpu, mps, cuda or cuda:N.")
    if not available[target.type]:
        usable = ", ".join(n for n, there in (("cuda", has_cuda), ("mps", has_mps), ("cpu", True)) if there)
        raise EngineError(f"Device {device} is not available here; available: {usable}. Nothing was loaded.")
    return target, f"device {target}: as asked for"


def choose_dtype(dtype: str, *, device: torch.device, stored: torch.dtype | None) -> tuple[torch.dtype, str]:
    """The precision for a name, the device and the precision that the weights are stored in, and why."""
    if dtype != "auto":
        if dtype not in DTYPES:
            raise EngineError(f"dtype is {dtype!r}; it must be auto or one of: {', '.join(DTYPES)}.")
        if dtype == "float64" and device.type == "mps":
            raise EngineError("float64 does not exist on MPS; choose float32.")
        return DTYPES[dtype], f"precision {dtype}: as asked for"
    half = stored in (torch.bfloat16, torch.float16)
    if device.type == "cuda" and half and torch.cuda.is_bf16_supported():
        return torch.bfloat16, "precision bfloat16: the weights are stored in half precision and the GPU has bfloat16"
    return torch.float32, f"precision float32: the default on {device.type} for these weights"


def _config(path: Path) -> Any:
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except _LOAD_ERRORS as error:
        raise EngineError(
            f"{path}/config.json names no architecture that transformers {transformers.__version__} knows, "
            f"or is broken: {_first_line(error)} Code shipped with a model is never run."
        ) from error
    known = {n for names in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() for n in _as_tuple(names)}
    stated = config.architectures or []
    if stated and not known.intersection(stated):
        raise EngineError(f"{path} holds a {stated[0]}, which is no causal language model. Choose one that generates.")
    if getattr(config, "quantization_config", None) is not None:
        raise EngineError(f"{path} is quantised, and gradients need plain weights. Use the unquantised model.")
    return config


def _tokenizer(path: Path) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except _LOAD_ERRORS as error:
        raise EngineError(f"The tokenizer in {path} cannot be loaded: {_first_line(error)}") from error


def _model(
    path: Path, config: Any, dtype: torch.dtype, device: torch.device, attention: str
) -> tuple[PreTrainedModel, list[str]]:
    if attention not in get_args(Attention):
        raise EngineError(f"attention is {attention!r}; it must be one of: {', '.join(get_args(Attention))}.")
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            attn_implementation=None if attention == "auto" else attention,
        )
        notes = _loading_notes(path, loaded[1])
        model: PreTrainedModel = loaded[0].to(device)
    except (*_LOAD_ERRORS, MemoryError) as error:
        raise EngineError(f"The model in {path} cannot be loaded on {device}: {_first_line(error)}") from error
    model.eval().requires_grad_(False)
    model.config.use_cache = False
    return model, notes


def _loading_notes(path: Path, info: dict[str, Any]) -> list[str]:
    """Refuse weights that would be filled in at random; name those that are not used."""
    missing = sorted(info.get("missing_keys") or ())
    if missing:
        raise EngineError(
            f"The weights in {path} lack {len(missing)} of the model's parameters ({', '.join(missing[:3])}). They "
            "would be random, so nothing was loaded. Is it an encoder, an adapter, or an incomplete copy?"
        )
    unused = sorted(info.get("unexpected_keys") or ())
    return [f"{len(unused)} stored weights are not part of the model ({', '.join(unused[:3])})"] if unused else []


def _attention_note(model: PreTrainedModel, asked: str) -> str:
    used = model.config._attn_implementation
    why = "chosen as the model's fastest" if asked == "auto" else "as asked for"
    limit = "" if used == "eager" else "; forward mode and double backward need eager or the math kernel"
    return f"attention {used}: {why}{limit}"


def _check_vocabulary(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, path: Path) -> list[str]:
    """Refuse a tokenizer of another model; name tokens added later that the model does not embed."""
    rows = _vocabulary(model)
    if tokenizer.vocab_size > rows:
        raise EngineError(
            f"The tokenizer in {path} has {tokenizer.vocab_size} tokens, but the model embeds only {rows}. "
            "They do not belong together; save the right tokenizer into the folder."
        )
    beyond = sorted(str(t) for i, t in tokenizer.added_tokens_decoder.items() if i >= rows)
    return [f"the model does not embed {', '.join(beyond)}: samples with them are set aside"] if beyond else []


def _vocabulary(model: PreTrainedModel) -> int:
    embedding: Any = model.get_input_embeddings()
    return int(embedding.weight.shape[0])


def _length(config: Any, tokenizer: PreTrainedTokenizerBase, cap: int | None) -> tuple[int, str]:
    text = config.get_text_config()
    limits = {n: getattr(text, n) for n in LENGTH_FIELDS if isinstance(getattr(text, n, None), int)}
    limits = {n: v for n, v in limits.items() if v > 0}
    if 0 < tokenizer.model_max_length < 1_000_000_000:
        limits["the tokenizer"] = int(tokenizer.model_max_length)
    if cap is not None:
        limits["the setting"] = cap
    if not limits:
        return UNSTATED_LENGTH, f"at most {UNSTATED_LENGTH} tokens a sample: the model states no limit"
    source = min(limits, key=lambda n: limits[n])
    return limits[source], f"at most {limits[source]} tokens a sample: the limit of {source}"


def _pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Any id does, because padding is masked and lies behind the text; the tokenizer's own where it has one."""
    found = (i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None)
    return int(next(found, 0))


def _stored_dtype(config: Any) -> torch.dtype | None:
    stored = getattr(config, "dtype", None)
    return DTYPES.get(stored) if isinstance(stored, str) else stored


def _as_tuple(names: Any) -> tuple[str, ...]:
    return names if isinstance(names, tuple) else (names,)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no advice from transformers while loading; what matters is raised or noted."""
    from transformers.utils import logging as hf

    level, bars = hf.get_verbosity(), hf.is_progress_bar_enabled()
    hf.set_verbosity(logging.CRITICAL)
    hf.disable_progress_bar()
    try:
        yield
    finally:
        hf.set_verbosity(level)
        if bars:
            hf.enable_progress_bar()
