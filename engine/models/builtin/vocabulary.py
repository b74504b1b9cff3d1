"""The built-in model's tokenizer: byte-level BPE with single digits, special tokens and a chat template.

Every byte is in the vocabulary, so any text can be encoded and comes back unchanged. Digits stand alone, which is
what lets a small model do sums. Format: `<|begin|><|user|>text<|end|><|assistant|>text<|end|>`.
"""

from collections.abc import Iterable
from itertools import islice

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from engine.models.builtin.corpus import BEGIN, END, PAD, SPECIAL, documents
from engine.models.builtin.library import pieces

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], *, size: int, max_length: int) -> PreTrainedTokenizerFast:
    """A tokenizer of at most `size` entries learned from `texts`, for a model of `max_length` tokens."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\p{N}"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(SPECIAL[3:]),
        chat_template=CHAT_TEMPLATE,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )


def tokenizer_texts(*, seed: int) -> list[str]:
    """What the shipped tokenizer learned from: drafted chats and half of the Python library's texts."""
    chats = [
        "\n".join(text for text, weight in document.parts if weight) for document in islice(documents(seed=seed), 8_000)
    ]
    return [*(chat.replace(END, "") for chat in chats), *pieces()[::2]]
