"""One thread a process: the tests' tensors are small, and threads that wait for each other cost more than they give."""

from __future__ import annotations

import os

from hypothesis import settings

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before torch is imported, and inherited by the processes that tests start

# Made-up cases are the same in every run, and none is kept: a test fails for everybody or for nobody.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")
