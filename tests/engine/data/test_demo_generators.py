"""Each source's generator: plenty of different prompts, wrong answers that are wrong, sums of a size a child can do."""

from random import Random

import pytest

from engine.data.demo_samples import Draft, Workings, counted, listed, worked
from engine.data.demo_sources import SOURCES, draw_unlike


@pytest.mark.parametrize("source", SOURCES)
def test_drafts_are_well_formed(source: str) -> None:
    rng = Random(source)
    for draft in (SOURCES[source].draw(rng) for _ in range(400)):
        assert draft.source == source
        assert draft.prompt.strip() == draft.prompt != ""
        assert draft.response.strip() == draft.response != ""
        assert draft.wrong is None or draft.wrong not in ("", draft.response)
        assert len(draft.prompt) < 400 and len(draft.response) < 300
        assert "{" not in draft.prompt and "None" not in draft.prompt + draft.response


@pytest.mark.parametrize("source", SOURCES)
def test_the_pool_s_share_can_be_drawn_twice_without_repeating(source: str) -> None:
    count = 2 * SOURCES[source].rows
    drafts = draw_unlike(source, count, rng=Random(5), seen=set())
    assert len({draft.prompt for draft in drafts}) == count


def test_prompts_that_differ_by_a_name_alone_count_as_one() -> None:
    drafts = draw_unlike("word-problems", 300, rng=Random(0), seen=(seen := set()))
    assert len(seen) == 300
    again = draw_unlike("word-problems", 100, rng=Random(0), seen=seen)
    assert not {draft.prompt for draft in drafts} & {draft.prompt for draft in again}


def test_a_slip_is_carried_through() -> None:
    def answer(sums: Workings) -> str:
        first = sums.mul(3, 4)
        second = sums.add(first.value, 5)
        return f"{first}, then {second}."

    assert answer(Workings()) == "3 * 4 = 12, then 12 + 5 = 17."
    assert answer(Workings(slip=0, error=2)) == "3 * 4 = 14, then 14 + 5 = 19."
    assert answer(Workings(slip=1, error=-3)) == "3 * 4 = 12, then 12 + 5 = 14."
    assert str(Workings(slip=0, error=-10).sub(5, 4)) == "5 - 4 = 11"
    draft = worked(Random(1), "arithmetic", "?", answer)
    assert draft.response == answer(Workings()) != draft.wrong


def test_messages_hold_earlier_turns_and_another_answer() -> None:
    draft = Draft("chat", "And you?", "Fine.", before=(("user", "Hi"), ("assistant", "Hello")))
    assert [turn["content"] for turn in draft.messages("Bad.")] == ["Hi", "Hello", "And you?", "Bad."]
    assert draft.messages()[-1] == {"role": "assistant", "content": "Fine."}


def test_small_words() -> None:
    assert (listed(["a"]), listed(["a", "b", "c"]), counted(1, "hour", "hours")) == ("a", "a, b and c", "1 hour")
