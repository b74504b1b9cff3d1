"""How the tests are shared out among the processes of `pytest -n`, and how many threads each has.

One thread for arithmetic in each process, unless the environment says otherwise: two processes of two threads on two
cores spend most of their time waiting for each other. Numba is told too, for its threads become torch's once it ran.
"""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", os.environ["OMP_NUM_THREADS"])

# A busy machine is no fault of an example.
settings.register_profile("unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

STORIES = "tests/e2e/"


class StoriesFirst(LoadFileScheduling):
    """A file is one piece of work, as with `--dist loadfile`, and the stories and all browser tests are one, the first.

    So there is one browser, never two that compete for the same cores, and the map's code is compiled once for both
    stories, while the other processes run the rest.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        return STORIES if file.startswith(STORIES) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The scheduler for `--dist loadfile`; any other stays as it is."""
    if config.getvalue("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False  # by the number of tests the longest would come last
    return StoriesFirst(config, log)
