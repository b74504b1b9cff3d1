"""How the tests are shared out among the processes of `pytest -n`."""

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

BROWSER = "tests/e2e/"


class BrowserFirst(LoadFileScheduling):
    """A file is one piece of work, as with `--dist loadfile`, and all that drives a browser is one piece, the first.

    So there is one browser, and never two that compete for the same cores, while the other processes run the rest.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        return BROWSER if file.startswith(BROWSER) and "shell" not in file else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The scheduler for `--dist loadfile`; any other stays as it is."""
    if config.getvalue("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False  # by the number of tests the longest would come last
    return BrowserFirst(config, log)
