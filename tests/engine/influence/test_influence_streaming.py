"""Reading mapped pools in pieces: every row once, resident pages given back, private changes kept."""

from pathlib import Path

import numpy as np
import pytest

from engine.influence.regression import KernelRidge
from engine.influence.streaming import pieces, release, rows_per_chunk


def resident():
    """Resident bytes of this process that belong to mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("RssFile")))


@pytest.mark.parametrize("rows", [1, 7, 100, 1000])
def test_pieces_cover_every_row_once(rows):
    array = np.arange(300).reshape(100, 3)
    parts = list(pieces(array, rows))
    assert np.array_equal(np.concatenate([part for _, part in parts]), array)
    assert [len(part) for _, part in parts] == [here.stop - here.start for here, _ in parts]


def test_rows_per_chunk_follows_the_bytes():
    assert rows_per_chunk(1024, limit=1 << 20) == 1024
    assert rows_per_chunk(1 << 30) == 256 and rows_per_chunk(0) == 65536


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_mapped_pool_does_not_stay_resident(tmp_path):
    path = tmp_path / "pool.npy"
    pool = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(65536, 256))  # 64 MB
    pool[:] = np.random.default_rng(0).normal(size=(1, 256)).astype(np.float32)
    pool.flush()
    del pool
    mapped = np.load(path, mmap_mode="r")
    rng = np.random.default_rng(1)
    model = KernelRidge.fit(rng.normal(size=(20, 256)).astype(np.float32), rng.normal(size=20))
    before = resident()
    found = model.predict(mapped, chunk=2048)
    assert resident() - before < 16 << 20
    assert np.array_equal(found[0], model.predict(np.array(mapped[:2048]))[0])
    for start in range(0, 65536, 4096):  # a caller that streams itself
        model.predict(np.asarray(mapped[start : start + 4096]))
    assert resident() - before < 16 << 20


def test_changes_are_never_lost(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4096, 4)))
    for mode in ("r+", "c"):
        mapped = np.load(tmp_path / "a.npy", mmap_mode=mode)
        mapped[5] = 7
        released = release(np.asarray(mapped[:100]))
        assert released == (mode == "r+")
        assert (mapped[5] == 7).all()


def test_arrays_in_memory_are_left_alone():
    assert not release(np.ones((10, 2)))
    assert not release(np.frombuffer(b"12345678", dtype=np.float32))
