"""The messages between page and map: what is packed, what is believed, and that nothing is sent twice for nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from pages.parts import point_map as module
from pages.parts.colours import Channel, categorical, diverging, legend_message
from pages.parts.point_map import EXCLUDED, SELECTED, MapEvent, pack, point_map

ROOT = Path(__file__).resolve().parents[2]


def unpack(block: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """What the browser reads: the header, and the arrays it points to."""
    assert block[:4] == b"TSPM"
    width = int.from_bytes(block[4:8], "little")
    header = json.loads(block[8 : 8 + width])
    arrays = {
        part["name"]: np.frombuffer(block, dtype=part["type"], count=part["count"], offset=part["offset"])
        for part in header["arrays"]
    }
    return header, arrays


def test_a_block_holds_its_arrays() -> None:
    xy = np.arange(8, dtype=np.float32).reshape(4, 2)
    flags = np.array([1, 2, 3], dtype=np.uint8)
    header, arrays = unpack(pack("points", "kärte", {"xy": xy, "flags": flags}))
    assert (header["kind"], header["name"]) == ("points", "kärte")
    np.testing.assert_array_equal(arrays["xy"], xy.reshape(-1))
    np.testing.assert_array_equal(arrays["flags"], flags)


def test_the_hash_follows_the_content_and_nothing_else() -> None:
    xy = np.zeros((3, 2), dtype=np.float32)
    of = lambda block: unpack(block)[0]["hash"]  # noqa: E731
    assert of(pack("points", "a", {"xy": xy})) == of(pack("points", "b", {"xy": xy.copy()}))
    assert of(pack("points", "a", {"xy": xy})) != of(pack("points", "a", {"xy": xy + 1}))
    assert of(pack("points", "a", {"xy": xy[:0]})) != of(pack("points", "a", {"xy": xy}))


def test_few_colours_travel_as_a_byte_each_and_many_in_full() -> None:
    few = np.array([[1, 2, 3, 255], [9, 9, 9, 100], [1, 2, 3, 255]], dtype=np.uint8)
    style = module._style(few, np.array([True, False, True]), np.array([False, False, True]))
    assert style["flags"].tolist() == [EXCLUDED, 0, EXCLUDED | SELECTED]
    np.testing.assert_array_equal(style["palette"].reshape(-1, 4)[style["codes"]], few)
    many = np.random.default_rng(0).integers(0, 255, (1000, 4)).astype(np.uint8)
    np.testing.assert_array_equal(module._style(many, None, None)["colours"].reshape(-1, 4), many)
    assert "channels" not in style


def test_channels_travel_as_a_byte_each_and_none_counts_as_least() -> None:
    doubt = Channel(np.array([0.0, 0.5, np.nan, 2.0]), "Spread")
    style = module._style(np.zeros((4, 4), np.uint8), None, None, doubt, None)
    assert style["channels"].reshape(-1, 2).tolist() == [[0, 0], [128, 0], [0, 0], [255, 0]]


def test_entries_tell_which_can_be_clicked_and_ramps_where_values_lie_beyond() -> None:
    _, sources = categorical(np.array([0, 0, 1, -1]), ["a", "b"], title="Source", most=1)
    assert [entry[2:] for entry in legend_message(sources, chosen=[0])["entries"]] == [
        [3, False, True],
        [1, True, False],
    ]
    _, ramp = diverging(np.concatenate([np.linspace(-1, 1, 999), [9.0]]))
    told = legend_message(ramp)
    assert told["ticks"][0][1].startswith("≤ −") and told["ticks"][-1][1].startswith("≥ +")
    assert tuple(told["stops"]) in told["ramps"] and len(set(told["ramps"])) == 2


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"lasso": "x", "box": [1, 2], "clicked": "4", "hovered": -1, "legend": "all"},
        {"lasso": [[0, 1], [2]], "box": [1, 2, 3, None], "clicked": True, "hovered": 1.5},
        {"lasso": [[0, float("nan")]], "box": [0, 0, 1, float("inf")]},
        {"lasso": [[0, 0]] * 10_001},
    ],
)
def test_malformed_events_are_no_events(told: dict) -> None:
    assert module._event(told) == MapEvent()


def test_events_are_read() -> None:
    told = {"lasso": [[0, 1], [2, 3.5]], "box": [0, 1, 2, 3], "clicked": 0, "hovered": 7, "legend": 2}
    assert module._event(told) == MapEvent([(0.0, 1.0), (2.0, 3.5)], (0.0, 1.0, 2.0, 3.0), 0, 7, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"xy": np.zeros((3, 3), np.float32)},
        {"colours": np.zeros((2, 4), np.uint8)},
        {"colours": np.zeros((3, 4), np.float32)},
        {"excluded": np.zeros(2, bool)},
        {"selected": np.zeros((3, 1), bool)},
        {"weights": Channel(np.zeros(2), "Weight")},
    ],
)
def test_arrays_that_disagree_are_refused(wrong: dict) -> None:
    fitting = {"xy": np.zeros((3, 2), np.float32), "colours": np.zeros((3, 4), np.uint8)}
    with pytest.raises(ValueError, match="must"):
        point_map(key="map", **{**fitting, **wrong})


def test_the_map_mounts_on_a_page_without_an_event() -> None:
    script = """
import numpy as np, streamlit as st
from pages.parts import colours
from pages.parts.point_map import MapLabel, point_map
rgba, legend = colours.diverging(np.linspace(-1, 1, 40))
event = point_map(key="map", xy=np.zeros((40, 2), np.float32), colours=rgba, hover_text=lambda row: str(row),
                  labels=[MapLabel(0, 0, "<b>x</b>")], excluded=np.arange(40) > 3)
colours.draw_legend(legend)
st.text(f"{event}")
"""
    page = AppTest.from_string(script, default_timeout=60).run()
    assert not page.exception
    assert page.text[0].value == "MapEvent(lasso=None, box=None, clicked=None, hovered=None, legend=None)"


def test_the_component_reaches_for_nothing_outside_and_writes_no_markup() -> None:
    scripts = sorted((ROOT / "pages/parts/point_map_js").glob("*.js"))
    assert {script.stem for script in scripts} == set(module.SCRIPTS)
    code = "".join(path.read_text() for path in [*scripts, ROOT / "pages/parts/point_map.css"])
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "eval(",
        "fetch(",
        "import(",
        "XMLHttp",
        "@import",
    ):
        assert forbidden not in code
    assert "http" not in code.replace("http://www.w3.org/2000/svg", "")
