"""LeCun's five networks of 1989, from no structure to local fields, shared weights and several maps.

    Net-1  dense 10                                             Net-2  dense 12, dense 10
    Net-3  local 3×3/2 → 8×8, local 5×5 → 4×4, dense 10
    Net-4  two shared 3×3/2 maps of 8×8, local 5×5 → 4×4, dense 10
    Net-5  two shared 3×3/2 maps of 8×8, four shared 5×5 maps of 4×4 over both, dense 10

Local: every unit has weights and a bias of its own; shared: one kernel a map, and still a bias for every unit. Units
squash with 1.7159 tanh(2x/3). Shapes: `(B, C, 16, 16)` to `(B, num_classes)`. Links and weights, biases counted: 2,570
and 2,570; 3,214 and 3,214; 1,226 and 1,226; 2,266 and 1,132; 5,194 and 1,060. Reference: LeCun, Generalization and
network design strategies (1989).
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from grid_cnn.domain import Domain, Grid
from grid_cnn.layer import Layer, Sequential
from grid_cnn.local import LocallyConnected2d, PositionBias
from grid_cnn.models.fit import fitted
from grid_cnn.models.network import Network, setting
from grid_cnn.ops import GridOps, Ops
from grid_cnn.squash import ScaledTanh

_SIZE = 16


def _grid_only(name: str, ops: Ops, domain: Domain) -> Grid:
    """The grid, for a network whose units have weights or biases of their own at every cell.

    Raises:
        ValueError: for another family, or another domain.
    """
    if not isinstance(ops, GridOps) or not isinstance(domain, Grid):
        raise ValueError(
            f"{name} has weights or biases for every cell of one grid, so it is built with GridOps on a Grid; got "
            f"{ops!r} on {domain!r}. Net-1 and Net-2 and the LeNets build on graphs"
        )
    return domain


def _net(name: str, layers: list[nn.Module], width: int, num_classes: int, ops: Ops, domain: Domain) -> Network:
    head = [ops.flatten(), nn.Linear(width, num_classes)]
    return _drawn(Network(*layers, *head, name=name, domain=domain, sized=True))


def fan_in(layer: nn.Module) -> int:
    """How many signals a unit of a layer with weights sums over, its bias not counted; 0 for a layer without weights.

    >>> [fan_in(layer) for layer in lecun1989_net3().modules() if fan_in(layer)]
    [9, 25, 16]
    """
    weight = layer._parameters.get("weight")
    if weight is None:
        return 0
    # A row a unit where units have weights of their own, a row a map where they share them.
    return (weight.flatten(0, 2) if isinstance(layer, LocallyConnected2d) else weight)[0].numel()


def _drawn(net: Network) -> Network:
    """The network with its weights drawn as in the paper, from U(±2.4 / fan-in)."""
    for layer in net.modules():
        fan = fan_in(layer)
        if fan:
            nn.init.uniform_(cast(Tensor, layer.weight), -2.4 / fan, 2.4 / fan)
    return net


def lecun1989_net1(
    num_classes: int = 10, in_channels: int = 1, *, ops: Ops | None = None, domain: Domain | None = None
) -> Network:
    """Net-1: one dense layer.

    Args:
        num_classes: outputs. in_channels: channels of the input signal.
        ops: the family of layers; `GridOps()` if None. domain: where inputs live; `Grid((16, 16))` if None.

    >>> sum(parameter.numel() for parameter in lecun1989_net1().parameters())
    2570
    """
    ops, domain, _ = setting(ops, domain, True, small_size=_SIZE, num_classes=num_classes, in_channels=in_channels)
    flatten = ops.flatten()
    flatten.in_channels = in_channels
    head = nn.Linear(in_channels * domain.num_nodes, num_classes)
    return _drawn(Network(flatten, head, name="Net-1", domain=domain, sized=True))


def lecun1989_net2(
    num_classes: int = 10,
    in_channels: int = 1,
    *,
    hidden: int = 12,
    ops: Ops | None = None,
    domain: Domain | None = None,
) -> Network:
    """Net-2: one hidden layer of 12 units; `hidden` sets another width, other arguments as for `lecun1989_net1`."""
    ops, domain, _ = setting(
        ops, domain, True, small_size=_SIZE, num_classes=num_classes, in_channels=in_channels, hidden=hidden
    )
    flatten = ops.flatten()
    flatten.in_channels = in_channels
    dense = nn.Linear(in_channels * domain.num_nodes, hidden)
    head = nn.Linear(hidden, num_classes)
    return _drawn(Network(flatten, dense, ScaledTanh(), head, name="Net-2", domain=domain, sized=True))


def lecun1989_net3(
    num_classes: int = 10, in_channels: int = 1, *, ops: Ops | None = None, domain: Domain | None = None
) -> Network:
    """Net-3: two locally connected layers; arguments as for `lecun1989_net1`, on a grid only.

    Raises:
        ValueError: for a graph, or a grid that is too small.
    """
    ops, domain, _ = setting(ops, domain, True, small_size=_SIZE, num_classes=num_classes, in_channels=in_channels)
    grid = _grid_only("Net-3", ops, domain)
    first = LocallyConnected2d(in_channels, 1, grid.size, 3, stride=2, padding=1)
    second, width = _local("Net-3", 1, first, grid)
    return _net("Net-3", [first, ScaledTanh(), second, ScaledTanh()], width, num_classes, ops, domain)


def lecun1989_net4(
    num_classes: int = 10, in_channels: int = 1, *, ops: Ops | None = None, domain: Domain | None = None
) -> Network:
    """Net-4: two maps of shared weights, then a locally connected layer; arguments as for `lecun1989_net3`."""
    ops, domain, _ = setting(ops, domain, True, small_size=_SIZE, num_classes=num_classes, in_channels=in_channels)
    grid = _grid_only("Net-4", ops, domain)
    first = _maps("Net-4", ops, in_channels, 2, 3, 2, 1, grid)
    second, width = _local("Net-4", 2, first, grid)
    return _net("Net-4", [first, ScaledTanh(), second, ScaledTanh()], width, num_classes, ops, domain)


def lecun1989_net5(
    num_classes: int = 10, in_channels: int = 1, *, ops: Ops | None = None, domain: Domain | None = None
) -> Network:
    """Net-5: two maps, then four over both, all of shared weights; arguments as for `lecun1989_net3`."""
    ops, domain, _ = setting(ops, domain, True, small_size=_SIZE, num_classes=num_classes, in_channels=in_channels)
    grid = _grid_only("Net-5", ops, domain)
    first = _maps("Net-5", ops, in_channels, 2, 3, 2, 1, grid)
    middle = fitted("Net-5", first, grid)
    assert isinstance(middle, Grid)
    second = _maps("Net-5", ops, 2, 4, 5, 1, 0, middle)
    last = fitted("Net-5", Sequential(first, second), grid)
    assert last is not None
    layers = [first, ScaledTanh(), second, ScaledTanh()]
    return _net("Net-5", layers, 4 * last.num_nodes, num_classes, ops, domain)


def _maps(
    name: str, ops: Ops, in_channels: int, maps: int, kernel: int, stride: int, padding: int, grid: Grid
) -> Sequential:
    """A convolution of shared weights, with a bias for every unit."""
    conv = ops.conv(in_channels, maps, kernel, stride, padding, bias=False)
    out = fitted(name, conv, grid)
    assert isinstance(out, Grid)
    return Sequential(conv, PositionBias(maps, out.size))


def _local(name: str, in_channels: int, first: Layer, grid: Grid) -> tuple[LocallyConnected2d, int]:
    """One map of local 5×5 fields behind `first`, and how many units it has."""
    middle = fitted(name, first, grid)
    assert isinstance(middle, Grid)
    fields = GridOps().conv(in_channels, 1, 5, padding="valid")  # where the local layer will fit
    out = fitted(name, Sequential(first, fields), grid)
    assert out is not None
    return LocallyConnected2d(in_channels, 1, middle.size, 5), out.num_nodes
