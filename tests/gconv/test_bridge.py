"""The bridge: one memory, two readings; one network, two domains, the same predictions."""

import copy

import pytest
import torch
from graph_oracles import assert_close
from torch import Tensor, nn

import grid_cnn
from gconv import ChebConv, DirectionalConv, Graph, GridPool, bridge, grid_graph
from grid_cnn import Grid, Layer, Sequential, models

SIZES = {1: (12,), 2: (12, 10), 3: (6, 4, 8)}


def lookup(name: str, ndim: int) -> type:
    return getattr(grid_cnn, f"{name}{ndim}d")


class TestDomains:
    @pytest.mark.parametrize("grid", [Grid((4, 5)), Grid(6, periodic=True), Grid((2, 3, 4))], ids=repr)
    def test_there_and_back(self, grid):
        assert bridge.grid_of(bridge.graph_of(grid)) == grid

    def test_options_are_grid_graphs(self):
        assert bridge.graph_of(Grid((4, 4)), 4).num_edges == 48
        assert bridge.graph_of(Grid((4, 4)), nearest=3, sigma=2.0).lattice.sigma == 2.0

    def test_a_graph_without_a_grid(self):
        with pytest.raises(ValueError, match=r"Graph\(num_nodes=2, num_edges=1\) is not the graph of a grid"):
            bridge.grid_of(Graph(torch.tensor([[0], [1]])))


def laid_out(ndim: int, layout: str) -> Tensor:
    pictures = torch.rand(2, 3, *SIZES[ndim])
    if layout == "channels last":
        pictures = pictures.movedim(1, -1).contiguous().movedim(-1, 1)
    return pictures


LAYOUTS = pytest.mark.parametrize("layout", ["channels first", "channels last"])
NDIMS = pytest.mark.parametrize("ndim", [1, 2, 3])


class TestSignals:
    @NDIMS
    @LAYOUTS
    def test_pictures_and_signals_share_one_memory(self, ndim, layout):
        pictures = laid_out(ndim, layout)
        signals = bridge.to_nodes(pictures)
        back = bridge.to_images(signals, Grid(SIZES[ndim]))
        assert signals.shape == (2, Grid(SIZES[ndim]).num_nodes, 3)
        assert signals.data_ptr() == back.data_ptr() == pictures.data_ptr()
        assert back.stride() == pictures.stride()
        assert torch.equal(back, pictures)
        signals[1, 0, 2] = 7.0
        assert pictures[1, 2].flatten()[0] == 7.0

    @LAYOUTS
    def test_torchs_own_channels_last(self, layout):
        format = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}[layout]
        pictures = torch.rand(2, 3, 5, 4).to(memory_format=format)
        assert bridge.to_nodes(pictures).data_ptr() == pictures.data_ptr()
        signals = torch.rand(2, 20, 3)
        out = bridge.to_images(signals, grid_graph((5, 4)))
        assert out.data_ptr() == signals.data_ptr()
        assert out.is_contiguous(memory_format=torch.channels_last)

    def test_cells_lie_in_row_major_order(self):
        pictures = torch.arange(24.0).reshape(1, 2, 3, 4)
        assert bridge.to_nodes(pictures)[0, :, 0].tolist() == list(range(12))
        assert bridge.to_nodes(pictures)[0, 5].tolist() == [5.0, 17.0]
        assert bridge.to_images(bridge.to_nodes(pictures), Grid((3, 4)))[0, 1, 2, 3] == 23.0

    def test_gradients_go_through(self):
        pictures = torch.rand(1, 2, 3, 4, requires_grad=True)
        bridge.to_images(bridge.to_nodes(pictures), Grid((3, 4))).sum().backward()
        assert torch.equal(pictures.grad, torch.ones_like(pictures))

    @pytest.mark.parametrize("shape", [(20,), (5, 4)])
    def test_no_pictures(self, shape):
        with pytest.raises(ValueError, match=r"takes pictures \(B, C, \*size\), got shape \("):
            bridge.to_nodes(torch.zeros(shape))

    @pytest.mark.parametrize("shape", [(20, 3), (2, 19, 3), (1, 2, 20, 3)])
    def test_signals_that_do_not_fit(self, shape):
        with pytest.raises(ValueError, match=r"takes signals \(B, 20, C\) of Grid\(\(5, 4\)\), got \("):
            bridge.to_images(torch.zeros(shape), Grid((5, 4)))
        with pytest.raises(ValueError, match="is not the graph of a grid"):
            bridge.to_images(torch.zeros(2, 3, 1), Graph(torch.tensor([[0], [2]])))


def assert_carried(
    net: Layer, size: tuple[int, ...], *, periodic: bool = False, dtype: torch.dtype = torch.float32
) -> None:
    """The graph's copy of the net says what the net says, and so does the copy brought back from there."""
    grid, graph = Grid(size, periodic), grid_graph(size, periodic=periodic)
    x = torch.randn(3, net.in_channels, *size, dtype=dtype)
    there = bridge.model_to_graph(net)
    back = bridge.model_to_grid(there)
    wanted, out = net(x, grid).detach(), there(bridge.to_nodes(x), graph).detach()
    codomain = there.codomain(graph)
    out = out if codomain is None else bridge.to_images(out, codomain)
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    assert_close(out, wanted, tolerance)
    assert_close(back(x, grid).detach(), wanted, tolerance)
    assert_states(back.state_dict(), net.state_dict())


def assert_states(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert list(one) == list(other)
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype, name
        assert torch.equal(tensor, other[name]), name


def warmed(net: Layer, size: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Layer:
    """With running statistics and weights that are not those of a fresh layer, ready for evaluation."""
    net = net.to(dtype)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.uniform_(module.bias)
    with torch.no_grad():
        net(3 * torch.randn(8, net.in_channels, *size, dtype=dtype) + 1)
    return net.eval()


class TestLeNet5:
    @pytest.mark.parametrize("options", [{}, {"padding": "same"}, {"padding": "valid", "in_channels": 3}], ids=str)
    def test_same_predictions_there_and_back(self, options):
        assert_carried(models.lenet5(**options), (28, 28))

    def test_state_dicts_load_strictly_both_ways(self):
        net = models.lenet5()
        there = bridge.model_to_graph(models.lenet5())
        there.load_state_dict(net.state_dict(), strict=True)
        graph, x = grid_graph((28, 28)), torch.rand(4, 1, 28, 28)
        assert_close(there(bridge.to_nodes(x), graph).detach(), net(x).detach(), 1e-5)
        again = models.lenet5()
        again.load_state_dict(there.state_dict(), strict=True)
        assert torch.equal(again(x), net(x))

    def test_the_original_is_left_alone(self):
        net = models.lenet5()
        kept = copy.deepcopy(net.state_dict())
        there = bridge.model_to_graph(net)
        for parameter in there.parameters():
            parameter.data.zero_()
        assert_states(net.state_dict(), kept)
        bridge.model_to_grid(there).fc3.bias.data.fill_(1.0)
        assert not there.fc3.bias.any()

    def test_dropout_and_double_precision(self):
        net = models.lenet5(dropout=0.5).double().eval()
        assert_carried(net, (28, 28), dtype=torch.float64)
        assert not bridge.model_to_graph(net).training


def deep(ndim: int, ending: str) -> Sequential:
    """A bit of everything that has a twin."""
    conv, norm = lookup("Conv", ndim), lookup("BatchNorm", ndim)
    head = {
        "global mean": [grid_cnn.GlobalAvgPool(ndim), nn.Linear(6, 4)],
        "global max": [grid_cnn.GlobalMaxPool(ndim), nn.Linear(6, 4)],
        "flatten": [grid_cnn.Flatten(ndim)],
        "none": [],
    }[ending]
    return Sequential(
        conv(2, 4, 3, padding=1, stride=2),
        norm(4),
        nn.ReLU(),
        Sequential(lookup("AvgPool", ndim)(2), conv(4, 6, 3, padding="same", groups=2, bias=False)),
        lookup("MinPool", ndim)(3, 1, 1),
        norm(6),
        nn.Tanh(),
        *head,
    )


class TestNetworks:
    @NDIMS
    @pytest.mark.parametrize("ending", ["none", "global mean", "global max", "flatten"])
    def test_same_predictions_there_and_back(self, ndim, ending):
        assert_carried(warmed(deep(ndim, ending), SIZES[ndim]), SIZES[ndim])

    @pytest.mark.parametrize("ending", ["none", "global mean"])
    def test_double_precision_is_kept_to_the_last_digit(self, ending):
        assert_carried(warmed(deep(2, ending), SIZES[2], torch.float64), SIZES[2], dtype=torch.float64)

    @pytest.mark.parametrize(
        "make",
        [
            lambda: grid_cnn.Conv2d(2, 3, 5),
            lambda: grid_cnn.Conv2d(2, 3, 3, stride=2, padding=1),
            lambda: grid_cnn.Conv2d(2, 4, 3, padding="same", dilation=2, groups=2, bias=False),
            lambda: grid_cnn.Conv2d(2, 3, (3, 5), padding=(1, 2), padding_mode="reflect"),
            lambda: grid_cnn.Conv2d(2, 3, 3, padding=1, padding_mode="replicate"),
            lambda: grid_cnn.Conv2d(2, 3, 2, padding="same"),
            lambda: Sequential(grid_cnn.MaxPool2d(3, 2, 1), grid_cnn.Conv2d(2, 3, 1)),
            lambda: Sequential(grid_cnn.Conv2d(2, 2, 1), grid_cnn.AvgPool2d(3, 2, 1, count_include_pad=False)),
            lambda: Sequential(grid_cnn.Conv2d(2, 2, 1), grid_cnn.MaxPool2d(2, ceil_mode=True)),
        ],
        ids=range(9),
    )
    @pytest.mark.parametrize("periodic", [False, True])
    def test_single_layers_on_grids_and_toruses(self, make, periodic):
        assert_carried(make(), (11, 9), periodic=periodic)

    def test_a_true_convolution_stays_the_same_function(self):
        conv = grid_cnn.Conv2d(2, 3, 3, padding="same", true_convolution=True)
        x = torch.rand(2, 2, 6, 5)
        there = bridge.model_to_graph(conv)
        assert_close(bridge.to_images(there(bridge.to_nodes(x), grid_graph((6, 5))), Grid((6, 5))), conv(x), 1e-6)
        assert_close(bridge.model_to_grid(there)(x), conv(x), 1e-6)

    @pytest.mark.parametrize("options", [{}, {"affine": False}, {"track_running_stats": False}, {"momentum": None}])
    def test_every_kind_of_batch_normalisation(self, options):
        net = Sequential(grid_cnn.Conv2d(2, 3, 3), grid_cnn.BatchNorm2d(3, eps=1e-3, **options))
        assert_carried(warmed(net, (6, 6)), (6, 6))
        without_state = Sequential(
            grid_cnn.Conv2d(2, 3, 3), grid_cnn.BatchNorm2d(3, affine=False, track_running_stats=False)
        )
        assert_carried(without_state, (6, 6))

    def test_a_batch_normalisation_trains_alike(self):
        net = Sequential(grid_cnn.Conv2d(2, 3, 3, padding="same"), grid_cnn.BatchNorm2d(3)).train()
        there, x = bridge.model_to_graph(net), torch.randn(4, 2, 6, 5)
        assert there[1].training
        out = bridge.to_images(there(bridge.to_nodes(x), grid_graph((6, 5))), Grid((6, 5)))
        assert_close(out.detach(), net(x).detach(), 1e-5)
        assert_close(there[1].module.running_var, net[1].running_var, 1e-5)

    def test_a_module_used_twice_acts_twice(self):
        relu = nn.ReLU()
        net = Sequential(grid_cnn.Conv2d(1, 2, 3, padding="same"), relu, grid_cnn.Conv2d(2, 2, 3, padding="same"), relu)
        assert_carried(net, (6, 6))

    def test_a_layer_used_twice_stays_one_layer(self):
        conv = grid_cnn.Conv2d(2, 2, 3, padding="same")
        there = bridge.model_to_graph(Sequential(conv, nn.ReLU(), conv))
        assert there[2] is there[0]

    def test_names_of_modules_are_kept(self):
        net = models.lenet5()
        there = bridge.model_to_graph(net)
        for copied in (there, bridge.model_to_grid(there)):
            assert [name for name, _ in copied.named_children()] == [name for name, _ in net.named_children()]

    def test_modes_and_frozen_parameters_are_kept(self):
        net = Sequential(grid_cnn.Conv2d(1, 2, 3), grid_cnn.BatchNorm2d(2), nn.Dropout()).train()
        net[1].eval()
        net[0].weight.requires_grad_(False)
        for copied in (bridge.model_to_graph(net), bridge.model_to_grid(bridge.model_to_graph(net))):
            assert [module.training for module in copied] == [True, False, True]
            assert [p.requires_grad for p in copied.parameters()] == [p.requires_grad for p in net.parameters()]

    def test_a_single_layer_needs_no_sequential(self):
        assert isinstance(bridge.model_to_graph(grid_cnn.Conv2d(1, 2, 3)), DirectionalConv)
        assert isinstance(bridge.model_to_graph(grid_cnn.MaxPool2d(2)), GridPool)
        assert isinstance(bridge.model_to_grid(GridPool(grid_cnn.MinPool1d(2))), grid_cnn.MinPool1d)

    def test_layers_without_a_twin_are_refused(self):
        with pytest.raises(TypeError, match="ChebConv has no twin on the other domain; build the recipe with its ops"):
            bridge.model_to_grid(Sequential(ChebConv(1, 2, 3), nn.ReLU()))
        with pytest.raises(TypeError, match="DirectionalConv has no twin"):
            bridge.model_to_graph(DirectionalConv(1, 2, 3))
