"""What the tests of training share."""

import pytest

from ar_dmvc.clusterers import sem


@pytest.fixture(autouse=True)
def narrow_autoencoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers of a tenth of SEM's width: as many of them, and nothing here is about their size."""
    monkeypatch.setattr(sem, "_WIDTHS", tuple(width // 10 for width in sem._WIDTHS))
