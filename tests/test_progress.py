"""What is shown of long work."""

from __future__ import annotations

import re
import time

import pytest

from devices.events import Progress
from hwnas.progress import shown


def test_time_left_is_by_what_is_done_now(capfd: pytest.CaptureFixture[str]) -> None:
    with shown() as on_event:
        for done in range(1, 91):
            on_event(Progress("search", done, 200, repeated=True))
        for done in range(91, 96):
            on_event(Progress("search", done, 200))
            time.sleep(0.2)
    (left_s,) = re.findall(r"95/200 .*left 0:00:(\d\d)", capfd.readouterr().err)
    assert 15 < int(left_s) < 60
