"""A library's version is found whichever distribution carries it."""

from __future__ import annotations

import xgboost

from devices.versions import versions


def test_versions_go_by_the_name_of_the_import() -> None:
    found = versions(["sklearn", "xgboost", "no_such_library"])
    assert set(found) == {"sklearn", "xgboost"}
    assert found["xgboost"] == xgboost.__version__
