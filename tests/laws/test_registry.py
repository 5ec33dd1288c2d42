"""The registry is complete."""

from registry import ROWS

import gconv


def test_every_layer_has_a_row():
    rows = {type(row.make()) for row in ROWS if type(row.make()).__module__.startswith("gconv.")}  # not users' own
    assert rows == set(gconv.layers())


def test_every_exported_layer_is_listed():
    exported = {
        value for value in vars(gconv).values() if isinstance(value, type) and issubclass(value, gconv.GraphLayer)
    } - {gconv.GraphLayer, gconv.MessagePassing}
    assert exported == set(gconv.layers())


def test_every_layer_says_what_it_does():
    assert [layer for layer in gconv.layers() if layer.work is gconv.GraphLayer.work] == []


def test_every_layer_says_what_it_is():
    for layer in gconv.layers():
        assert layer.kind in ("spatial", "spectral", "pooling", "normalisation")
        assert layer.reference
        for line in (layer.equation, layer.cost, layer.transfers):
            assert line, layer
            assert line.isprintable(), layer
        assert layer.transfers in ("yes", "no") or layer.transfers.startswith("if "), layer
        assert layer.__doc__
        assert ">>>" in layer.__doc__
