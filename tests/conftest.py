"""Which tests one process of pytest-xdist runs (`--dist loadgroup`)."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that look at the reproduced project: so it is reproduced once. They come first, since they take longest."""
    for item in items:
        if "reproduced" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("reproduced"))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)
