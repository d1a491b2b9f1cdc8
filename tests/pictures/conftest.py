"""The figures that a test draws."""

import pytest


@pytest.fixture
def figures(monkeypatch):
    """The figures drawn during a test, in order."""
    from matplotlib.figure import Figure

    drawn = []
    save = Figure.savefig

    def kept(figure, *args, **options):
        drawn.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", kept)
    return drawn
