"""A model's tokenizer and length limit without its weights, for preparing a job on a machine that cannot hold them."""

from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from engine.errors import EngineError
from engine.models.loading import LENGTH_FIELDS
from engine.models.sources import ModelSource

BEYOND = 1_000_000_000  # what a tokenizer states when it knows no limit


@dataclass(frozen=True)
class Tokenizer:
    """The tokenizer, and the most tokens a row may have: the least of the setting and the limits the model states."""

    tokenizer: Any
    max_length: int


def load_tokenizer(source: ModelSource, *, max_length: int) -> Tokenizer:
    """The tokenizer of `source` from its local files; code shipped with a model is never run.

    Raises `EngineError` where the files cannot be read.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.path, trust_remote_code=False, local_files_only=True)
        config = AutoConfig.from_pretrained(source.path, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise EngineError(f"The tokenizer of {source.name} cannot be loaded: {error}. Nothing was computed.") from error
    text = config.get_text_config()
    stated = [getattr(text, name, None) for name in LENGTH_FIELDS] + [tokenizer.model_max_length, max_length]
    return Tokenizer(tokenizer, min(int(v) for v in stated if isinstance(v, int) and 0 < v < BEYOND))
