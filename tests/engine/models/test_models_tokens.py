"""Token ids and response masks against a slow oracle that looks at every token's characters."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from engine.data.samples import Message
from engine.errors import Cancelled, EngineError
from engine.models import table as tables
from engine.models.table import TokenTable
from engine.models.templates import ChatRenderer
from engine.models.tokens import ChatEncoder, Encoded, Unencodable, encode, tokenize
from engine.progress import Silent

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
Builder = Callable[..., PreTrainedTokenizerBase]


def chat(*contents: str) -> list[Message]:
    """User and assistant in turn."""
    return [Message("assistant" if i % 2 else "user", c) for i, c in enumerate(contents)]


def oracle(messages: list[Message], tokenizer: PreTrainedTokenizerBase) -> Encoded:
    """Every token whose characters overlap a span, one row and one token at a time, without any cut."""
    rendered = ChatRenderer(tokenizer).render(messages)
    out = tokenizer(rendered.text, add_special_tokens=False, return_offsets_mapping=True)
    mask = [int(any(a < end and b > start for start, end in rendered.spans)) for a, b in out["offset_mapping"]]
    mask[0] = 0
    return Encoded(np.array(out["input_ids"], np.int32), np.array(mask, np.uint8), False)


@pytest.fixture(scope="module")
def tokenizers(make_byte_level: Builder, make_metaspace: Builder) -> dict[str, PreTrainedTokenizerBase]:
    """Tokenizers of both families, with and without a template."""
    made = {
        "byte-level default": make_byte_level(),
        "byte-level chatml": make_byte_level(eos="<|im_end|>"),
        "metaspace default": make_metaspace(),
        "metaspace llama2": make_metaspace(),
    }
    made["byte-level chatml"].chat_template = CHATML
    made["metaspace llama2"].chat_template = LLAMA2
    return made


NAMES = ["byte-level default", "byte-level chatml", "metaspace default", "metaspace llama2"]
words = st.text(alphabet="ab\u00e9\u6f22\U0001f642\u2581 \n\t<|>[]/s0", min_size=1, max_size=12)
pieces = st.sampled_from(["\n", "    x = 1", "four", "</s>", "<|im_end|>", "assistant\n"])
answers = st.lists(words | pieces, min_size=1, max_size=5)
chats = st.lists(answers.map(" ".join).filter(str.strip), min_size=1, max_size=3)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=chats)
def test_ids_and_mask_equal_the_oracle(
    tokenizers: dict[str, PreTrainedTokenizerBase], name: str, contents: list[str]
) -> None:
    tokenizer = tokenizers[name]
    messages = chat(*[c for answer in contents for c in ("What is it?", answer)])
    encoded = encode(messages, tokenizer, max_length=4096)
    expected = oracle(messages, tokenizer)
    np.testing.assert_array_equal(encoded.ids, expected.ids)
    np.testing.assert_array_equal(encoded.mask, expected.mask)
    assert not encoded.truncated


@pytest.mark.parametrize("name", NAMES)
def test_masked_tokens_decode_to_the_assistant_texts(tokenizers: dict[str, PreTrainedTokenizerBase], name: str) -> None:
    tokenizer = tokenizers[name]
    messages = chat("What is 2+2?", "It is four: 2 + 2 = 4 🙂", "And then?", "def f(x):\n    return x")
    encoded = encode(messages, tokenizer, max_length=4096)
    decoded = tokenizer.decode(encoded.ids[encoded.mask == 1], skip_special_tokens=False)
    end = "<|im_end|>" if "chatml" in name else "</s>"
    parts = [p.strip() for p in decoded.split(end)]
    assert parts == ["It is four: 2 + 2 = 4 🙂", "def f(x):\n    return x", ""]


@pytest.mark.parametrize("name", ["byte-level chatml", "metaspace llama2"])
def test_ids_are_those_of_apply_chat_template(tokenizers: dict[str, PreTrainedTokenizerBase], name: str) -> None:
    tokenizer = tokenizers[name]
    messages = chat("What is two?", "It is 2.", "And three?", "It is 3.")
    official = tokenizer.apply_chat_template([{"role": m.role, "content": m.content} for m in messages])["input_ids"]
    ids = encode(messages, tokenizer, max_length=4096).ids.tolist()
    assert ids == official[: len(ids)]
    assert tokenizer.decode(official[len(ids) :]).strip() == ""


def test_no_bos_is_doubled(make_metaspace: Builder) -> None:
    tokenizer = make_metaspace()
    bos = tokenizer.bos_token_id
    assert encode(chat("q", "a"), tokenizer, max_length=99).ids.tolist().count(bos) == 1
    tokenizer.chat_template = LLAMA2
    assert encode(chat("q", "a"), tokenizer, max_length=99).ids.tolist().count(bos) == 1
    tokenizer.chat_template = CHATML  # writes no BOS, so the model is given none
    assert encode(chat("q", "a"), tokenizer, max_length=99).ids.tolist().count(bos) == 0


def test_the_end_token_is_learnt_and_the_prompt_is_not(tokenizer: PreTrainedTokenizerBase) -> None:
    encoded = encode(chat("What is two?", "It is 2."), tokenizer, max_length=99)
    assert encoded.ids[-1] == tokenizer.eos_token_id
    assert encoded.mask[-1] == 1
    prompt = tokenizer.decode(encoded.ids[encoded.mask == 0])
    assert prompt == "<|user|>\nWhat is two?\n<|assistant|>\n"


def test_without_an_end_token_the_response_is_the_answer_alone(make_byte_level: Builder) -> None:
    tokenizer = make_byte_level(eos=None)
    encoded = encode(chat("q", "It is 2."), tokenizer, max_length=99)
    assert tokenizer.decode(encoded.ids[encoded.mask == 1]) == "It is 2."


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=st.integers(1, 30), answer=st.integers(1, 30), limit=st.integers(4, 90))
def test_cutting_takes_the_prompt_from_the_left_and_never_the_whole_response(
    tokenizers: dict[str, PreTrainedTokenizerBase], prompt: int, answer: int, limit: int
) -> None:
    for name in ("byte-level default", "metaspace default"):
        tokenizer = tokenizers[name]
        messages = chat("four " * prompt, "sum " * answer)
        whole, cut = oracle(messages, tokenizer), encode(messages, tokenizer, max_length=limit)
        n, response = len(whole.ids), int(whole.mask.sum())
        lead = int(name == "metaspace default")  # the BOS, which stays
        assert cut.truncated == (n > limit)
        assert len(cut.ids) == min(n, limit)
        assert cut.ids[0] == whole.ids[0] or not lead
        kept = min(response, limit - lead - 1) if n > limit else response
        assert int(cut.mask.sum()) == kept
        start = n - response
        np.testing.assert_array_equal(cut.ids[cut.mask == 1], whole.ids[start : start + kept])
        if n > limit and response <= limit - lead - 1:
            np.testing.assert_array_equal(cut.ids[lead:], whole.ids[n - (limit - lead) :])


def test_a_cut_through_an_earlier_response_does_not_learn_its_orphaned_token(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    messages = chat("q", "sum " * 30, "r", "four")
    whole, cut = oracle(messages, tokenizer), encode(messages, tokenizer, max_length=30)
    assert whole.mask[-30] == 1
    assert cut.mask[0] == 0
    np.testing.assert_array_equal(cut.mask[1:], whole.mask[-29:])


def test_a_length_limit_too_small_to_learn_anything_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(EngineError, match="at least 4"):
        ChatEncoder(tokenizer, max_length=3)


def test_a_stored_truncation_or_padding_of_the_tokenizer_has_no_effect(make_byte_level: Builder) -> None:
    plain, odd = make_byte_level(), make_byte_level()
    odd.backend_tokenizer.enable_truncation(5)
    odd.backend_tokenizer.enable_padding(length=64)
    messages = chat("What is two?", "It is 2.")
    np.testing.assert_array_equal(encode(messages, odd, max_length=99).ids, encode(messages, plain, max_length=99).ids)


def test_a_tokenizer_without_offsets_masks_the_same_answers(make_byte_level: Builder) -> None:
    class Slow:
        """A tokenizer that can only encode a string, as pure Python ones."""

        is_fast = False

        def __init__(self, inner: PreTrainedTokenizerBase) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

        def __call__(self, text: str) -> object:
            return self._inner(text)

    fast = make_byte_level()
    messages = chat("What is two?", "It is 2.", "And?", "def f(x):\n    return x")
    expected = encode(messages, fast, max_length=99)
    found = encode(messages, Slow(fast), max_length=99)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.mask, expected.mask)


ROWS = [chat("q", "four"), [Message("user", "no answer")], chat("What is two?", "It is 2.", "r", "sum " * 50)]
ROWS += [chat("r", "sum of the list")]


def same(a: TokenTable, b: TokenTable) -> bool:
    """Equal in every column."""
    pairs = [(a.ids, b.ids), (a.offsets, b.offsets), (a.mask, b.mask), (a.truncated, b.truncated)]
    return all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in pairs) and a.problems == b.problems


def test_the_table_holds_each_row_in_its_place(tokenizer: PreTrainedTokenizerBase) -> None:
    table = tokenize([ROWS], tokenizer, max_length=40)
    assert len(table) == 4
    assert table.lengths[1] == 0
    assert table.problems == {1: "no response: no assistant turn has any text"}
    assert table.usable.tolist() == [0, 2, 3]
    assert table.truncated.tolist() == [False, False, True, False]
    assert table.response_lengths.tolist() == [int(table.row(i)[1].sum()) for i in range(4)]
    for i in (0, 2, 3):
        alone = encode(ROWS[i], tokenizer, max_length=40)
        np.testing.assert_array_equal(table.row(i)[0], alone.ids)
        np.testing.assert_array_equal(table.row(i)[1], alone.mask)


def test_chunks_and_streaming_to_disk_change_nothing(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    whole = tokenize([ROWS], tokenizer, max_length=40)
    assert same(tokenize([[r] for r in ROWS], tokenizer, max_length=40), whole)
    streamed = tokenize([ROWS[:1], [], ROWS[1:]], tokenizer, max_length=40, folder=tmp_path / "a")
    assert isinstance(streamed.ids, np.memmap)
    assert same(streamed, whole)
    assert same(TokenTable.load(tmp_path / "a"), whole)
    whole.save(tmp_path / "b")
    assert same(TokenTable.load(tmp_path / "b"), whole)


def test_tables_are_joined_row_by_row_and_keep_their_reasons(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    whole = tokenize([ROWS], tokenizer, max_length=40)
    mapped = tokenize([ROWS], tokenizer, max_length=40, folder=tmp_path / "a")
    joined = TokenTable.joined([whole, TokenTable.of([]), mapped, TokenTable.of(["no tokens"])])
    assert same(TokenTable.joined([whole, mapped]), tokenize([ROWS, ROWS], tokenizer, max_length=40))
    assert len(joined) == 9
    assert joined.problems == {1: whole.problems[1], 5: whole.problems[1], 8: "no tokens"}
    for i in range(4):
        for at in (i, 4 + i):
            np.testing.assert_array_equal(joined.row(at)[0], whole.row(i)[0])
            np.testing.assert_array_equal(joined.row(at)[1], whole.row(i)[1])
            assert joined.truncated[at] == whole.truncated[i]
    assert same(TokenTable.joined([whole]), whole)
    assert same(TokenTable.joined([]), TokenTable.of([]))


def test_a_subset_is_a_table_of_the_rows_asked_for(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    whole = tokenize([ROWS], tokenizer, max_length=40)
    mapped = tokenize([ROWS], tokenizer, max_length=40, folder=tmp_path / "a")
    for table in (whole, mapped):
        part = table.subset([3, 1, 3, 0])
        assert part.problems == {1: whole.problems[1]}
        assert part.truncated.tolist() == whole.truncated[[3, 1, 3, 0]].tolist()
        for at, i in enumerate([3, 1, 3, 0]):
            np.testing.assert_array_equal(part.row(at)[0], whole.row(i)[0])
            np.testing.assert_array_equal(part.row(at)[1], whole.row(i)[1])
        assert same(table.subset(range(4)), whole)
        assert same(table.subset([]), TokenTable.of([]))
        assert same(TokenTable.joined([table.subset([0, 1]), table.subset([2, 3])]), whole)
        part.ids[:] = 0  # a copy: the table it came from stays
        assert same(table, whole)
        assert whole.ids.any()


def test_an_empty_pool_makes_an_empty_table(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    for folder in (None, tmp_path / "empty"):
        table = tokenize([], tokenizer, max_length=40, folder=folder)
        assert (len(table), len(table.ids), len(table.response_lengths)) == (0, 0, 0)


def test_an_incomplete_table_is_an_error_and_not_fewer_rows(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    table = tokenize([ROWS], tokenizer, max_length=40)
    table.save(tmp_path)
    np.save(tmp_path / "mask.npy", table.mask[:-1])
    with pytest.raises(EngineError, match="arrays disagree"):
        TokenTable.load(tmp_path)
    (tmp_path / "ids.npy").unlink()
    with pytest.raises(EngineError, match="cannot be read"):
        TokenTable.load(tmp_path)


class Listener(Silent):
    """Keeps what it is told; cancels after some rows."""

    def __init__(self, *, patience: int = 1000) -> None:
        self.done, self.lines, self.patience = 0, [], patience

    def advance(self, n: int) -> None:
        self.done += n

    def check(self) -> None:
        if self.done >= self.patience:
            raise Cancelled("cancelled")

    def log(self, message: str) -> None:
        self.lines.append(message)


def test_progress_notes_and_cancellation(
    make_byte_level: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns: list[tables._FileColumn] = []

    class Kept(tables._FileColumn):
        """Remembers every file that a table is written to."""

        def __init__(self, *words: Any) -> None:
            super().__init__(*words)
            columns.append(self)

    monkeypatch.setattr(tables, "_FileColumn", Kept)
    tokenizer = make_byte_level()
    tokenizer.chat_template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    tokenizer.chat_template += CHATML
    rows = [[Message("system", "s"), *ROWS[0]], *ROWS]
    listener = Listener()
    tokenize([rows], tokenizer, max_length=40, reporter=listener)
    assert listener.done == 5
    assert listener.lines[0] == "chat template: the tokenizer's own"
    assert listener.lines[1].startswith("1 samples: system text put before the first user turn")
    assert listener.lines[2].startswith("1 samples longer than 40 tokens were cut")
    with pytest.raises(Cancelled):
        tokenize([rows, rows], tokenizer, max_length=40, reporter=Listener(patience=5), folder=tmp_path)
    assert [column._file.closed for column in columns] == [True, True]


def test_a_response_that_nothing_predicts_is_set_aside(make_byte_level: Builder) -> None:
    tokenizer = make_byte_level(eos=None)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    encoder = ChatEncoder(tokenizer, max_length=9)
    assert encoder.many([[Message("assistant", "x")]]) == [
        "no response token: the response has no token that an earlier one predicts"
    ]
    assert encoder.many([]) == []
    with pytest.raises(Unencodable, match="no response"):
        encoder.one([Message("assistant", " ")])
