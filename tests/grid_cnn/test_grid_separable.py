"""Depthwise, separable and partially connected convolutions, against sums of plain ones."""

import pickle

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck
from torch.func import functional_call

from grid_cnn import (
    LENET_C3,
    Conv2d,
    DepthwiseConv2d,
    Grid,
    LocallyConnected2d,
    PartialConv2d,
    SeparableConv2d,
    Sequential,
)

SETTINGS = [{}, {"stride": 2, "padding": 1}, {"padding": "same", "dilation": 2}, {"bias": False, "padding": (1, 0)}]


def signal(channels: int) -> torch.Tensor:
    return torch.randn(2, channels, 9, 8, dtype=torch.float64)


def plain(options: dict) -> dict:
    return {name: value for name, value in options.items() if name != "bias"}


@pytest.mark.parametrize("multiplier", [1, 3])
@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_depthwise_is_a_convolution_of_each_map(options, multiplier):
    layer, x = DepthwiseConv2d(4, 3, multiplier=multiplier, **options).double(), signal(4)
    y = layer(x)
    for channel in range(4):
        alone = Conv2d(1, multiplier, 3, bias=False, **plain(options)).double()
        maps = slice(channel * multiplier, (channel + 1) * multiplier)
        alone.load_state_dict({"weight": layer.weight[maps]})
        expected = alone(x[:, channel : channel + 1])
        if layer.bias is not None:
            expected = expected + layer.bias[maps].view(-1, 1, 1)
        torch.testing.assert_close(y[:, maps], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_separable_is_a_convolution_of_low_rank(options):
    layer, x = SeparableConv2d(4, 5, 3, multiplier=2, **options).double(), signal(4)
    depth, point = layer.depthwise.weight[:, 0].unflatten(0, (4, 2)), layer.pointwise.weight[..., 0, 0]
    weight = torch.einsum("ocj,cjhw->ochw", point.unflatten(1, (4, 2)), depth)
    whole = Conv2d(4, 5, 3, **options).double()
    with torch.no_grad():
        whole.weight.copy_(weight)
        if whole.bias is not None:
            whole.bias.copy_(layer.pointwise.bias)
    for grid in (Grid((9, 8)), Grid((9, 8), periodic=True)):
        torch.testing.assert_close(layer(x, grid), whole(x, grid), rtol=1e-11, atol=1e-11)
        assert layer.codomain(grid) == whole.codomain(grid)
    torch.testing.assert_close(layer(x[0]), layer(x)[0])


def test_separable_counts_and_names():
    layer = SeparableConv2d(32, 64, 3)
    assert sum(p.numel() for p in layer.parameters()) == 32 * 9 + 32 * 64 + 64
    assert list(layer.state_dict()) == ["depthwise.weight", "pointwise.weight", "pointwise.bias"]
    assert Sequential(layer).in_channels == 32


def test_lenet_c3_is_the_published_table():
    """Table I of LeCun et al. (1998), column by column: X where map and column meet."""
    published = [
        "X...XXX..XXXX.XX",
        "XX...XXX..XXXX.X",
        "XXX...XXX..X.XXX",
        ".XXX..XXXX..X.XX",
        "..XXX..XXXX.XX.X",
        "...XXX..XXXX.XXX",
    ]
    for o, row in enumerate(LENET_C3):
        assert row == tuple(c for c in range(6) if published[c][o] == "X"), o
    assert sum(map(len, LENET_C3)) == 60
    assert sum(p.numel() for p in PartialConv2d(6, 16, 5, LENET_C3).parameters()) == 60 * 25 + 16 == 1516


@pytest.mark.parametrize("options", SETTINGS, ids=str)
@pytest.mark.parametrize("grid", [Grid((9, 8)), Grid((9, 8), periodic=True)], ids=str)
def test_partial_is_a_sum_over_its_links(options, grid):
    table = [(0, 2), (1,), (3, 0, 1)]
    layer, x = PartialConv2d(4, 3, 3, table, **options).double(), signal(4)
    y, link = layer(x, grid), 0
    for o, row in enumerate(table):
        expected = 0 if layer.bias is None else layer.bias[o]
        for channel in row:
            alone = Conv2d(1, 1, 3, bias=False, **plain(options)).double()
            alone.load_state_dict({"weight": layer.weight[link][None, None]})
            expected = expected + alone(x[:, channel : channel + 1], grid)[:, 0]
            link += 1
        torch.testing.assert_close(y[:, o], expected, rtol=1e-12, atol=1e-12)
    assert link == len(layer.weight) == 6
    assert layer.codomain(grid) == Conv2d(4, 3, 3, **options).codomain(grid)


def test_a_full_table_is_a_dense_convolution_and_a_tensor_says_the_same():
    mask = torch.tensor([[1, 0, 1], [0, 1, 1]])
    layer = PartialConv2d(3, 2, 3, mask)
    assert layer.table == ((0, 2), (1, 2)) == PartialConv2d(3, 2, 3, mask.bool()).table
    full = PartialConv2d(3, 2, 3, torch.ones(2, 3)).double()
    x = signal(3)
    expected = F.conv2d(x, full.weight.unflatten(0, (2, 3)), full.bias)
    torch.testing.assert_close(full(x), expected)
    torch.testing.assert_close(full(x[0]), expected[0])


def test_partial_gradients_reach_links_alone():
    layer = PartialConv2d(3, 2, 2, [(0, 2), (1,)]).double()
    x = torch.randn(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    point = x, layer.weight.detach().requires_grad_(), layer.bias.detach().requires_grad_()
    assert gradcheck(lambda x, w, b: functional_call(layer, {"weight": w, "bias": b}, (x,)), point)
    assert layer.weight.shape == (3, 2, 2)


def test_each_map_starts_by_its_own_fan_in():
    layer = PartialConv2d(16, 2, 5, [tuple(range(16)), (3,)])
    assert layer.weight[:16].abs().max() <= (16 * 25) ** -0.5
    assert (25) ** -0.5 * 0.5 < layer.weight[16].abs().max() <= 25**-0.5


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([(0,), ()], r"row 1 .* at least one .*got \(\)"),
        ([(0,), (0, 0)], r"none twice.*\(0, 0\)"),
        ([(0,), (3,)], r"from 0 to 2.*\(3,\)"),
        ([(0,)], "each of 2 output maps, got 1 rows"),
        (torch.ones(3, 2), r"\(C_out, C_in\) = \(2, 3\), got \(3, 2\)"),
        (torch.tensor([[1, 1, 1], [0, 0, 0]]), "row 1 of the table"),
        ([0, 1], "a row of input maps for each"),
        (None, "a row of input maps for each"),
    ],
    ids=str,
)
def test_tables_that_do_not_fit(table, message):
    with pytest.raises(ValueError, match=message):
        PartialConv2d(3, 2, 3, table)


@pytest.mark.parametrize(
    "layer", [DepthwiseConv2d(3, 5), SeparableConv2d(3, 2, 5), PartialConv2d(3, 1, 5, [(0,)])], ids=str
)
def test_misfits(layer):
    with pytest.raises(ValueError, match="expects 3 channels, got 4"):
        layer(torch.zeros(1, 4, 9, 9))
    with pytest.raises(ValueError, match="larger than the padded input"):
        layer(torch.zeros(1, 3, 4, 9))


@pytest.mark.parametrize("filled", ["assigned", "emptied"])
def test_what_is_made_on_meta_reads_its_own_links_and_fields(filled):
    """Indices are the constructor's, not the state's: neither assigning nor emptying may put others there."""
    x = torch.randn(2, 3, 6, 5)
    for make in (
        lambda: PartialConv2d(3, 2, 3, [[0], [1, 2]]),
        lambda: LocallyConnected2d(3, 2, (6, 5), 3),
        lambda: Sequential(LocallyConnected2d(3, 2, (6, 5), 3, padding=1, shared_bias=True)),
    ):
        plain = make()
        with torch.device("meta"):
            layer = make()
        if filled == "emptied":
            layer = layer.to_empty(device="cpu")
        layer.load_state_dict(plain.state_dict(), assign=filled == "assigned")
        assert torch.equal(layer(x), plain(x))
        assert torch.equal(pickle.loads(pickle.dumps(layer))(x), plain(x))
