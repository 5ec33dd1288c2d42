"""What a layer says that it does: how far it sees, the edges it touches, its multiply-adds, and the same in words."""

import re
from contextlib import nullcontext

import pytest
import torch
from registry import CHANNELS, ROWS, double, signal
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import gconv
from gconv import Graph, force_form, grid_graph

COLUMNS = 15
N, E, LOOPED = 24, 136, 160  # of the 4×6 grid with diagonals: nodes, edges, edges and a loop a node
BY_NAME = {row.name: row for row in ROWS}


def ladder(remembers: bool) -> Graph:
    """Two rows of nodes with diagonals: the distance of nodes is that of their columns, and at least 1 in a column."""
    graph = grid_graph((2, COLUMNS))
    return graph if remembers else Graph(graph.edge_index, graph.num_nodes, None, graph.edge_attr, graph.pos)


def dependence(layer, graph):
    """Whether each node of the result changes when a column of the signal does: `(N', columns)`."""
    x, moved = signal(graph), []
    y, step = layer(x, graph), torch.tensor([[9.0, -7.0, 4.0]]).double().expand(2, -1)
    for column in range(COLUMNS):
        nodes = torch.tensor([column, column + COLUMNS])
        several = [layer(x.index_add(0, nodes, way * step), graph) for way in (-1.0, 1.0)]
        moved.append(torch.stack([(other - y).abs().amax(-1) for other in several]).amax(0))
    changes = torch.stack(moved, -1)
    assert not ((changes > 1e-11) & (changes < 1e-8)).any()  # rounding, or not
    return changes > 1e-8


REACHES = [(row, True) for row in ROWS if not row.readout]
REACHES += [(row, False) for row in ROWS if not (row.readout or row.grids_only or row.positional)]


@pytest.mark.parametrize(("row", "remembers"), REACHES, ids=str)
def test_a_layer_sees_as_far_as_it_says(row, remembers):
    graph, layer = ladder(remembers), double(row)
    work, seen = layer.work(graph, CHANNELS), dependence(layer, graph)
    reached = layer.codomain(graph)
    if work.hops is None:
        columns = torch.arange(len(seen))[:, None] % COLUMNS - torch.arange(COLUMNS)
        assert columns[seen].abs().max() > 6
        return
    width = COLUMNS if reached.grid is None else reached.grid.size[-1]
    of_middle = seen[width // 2].nonzero().flatten()
    first, last = int(of_middle[0]), int(of_middle[-1])
    if work.window is None:
        assert (first, last) == (COLUMNS // 2 - work.hops, COLUMNS // 2 + work.hops)
    else:
        kernel, stride, dilation = work.window
        assert last - first == (kernel[-1] - 1) * dilation[-1]
        place = width // 2 * stride[-1]
        assert max(place - first, last - place) == work.hops


class Sums(TorchDispatchMode):
    """How many numbers are added up into rows."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket in (torch.ops.aten.index_add, torch.ops.aten.index_add_):
            self.numbers += args[3].numel()
        return function(*args, **(kwargs or {}))


# Where the plain form of a layer does just what its equation says: torch counts its products, and its sums.
COUNTED = (
    "APPNP", "ARMA", "ARMA stacks of shared steps", "ARMA stacks of steps", "Directional 1×1", "Directional 3×3",
    "Directional 3×3 dilated", "Directional 5×5 strided", "Directional bilinear", "FeaSt", "FeaSt without loops", "GCN",
    "GIN learned, narrowing", "Graph", "MixHop", "MixHop narrowing", "SAGE", "SAGE sum, projected, unit length",
    "SAGE mean, no root", "SG", "SSG", "TAG", "own: weighted mean",
)  # fmt: skip


@pytest.mark.parametrize("name", COUNTED)
def test_products_and_sums_as_torch_counts_them(name):
    row, graph = BY_NAME[name], grid_graph((4, 6))
    layer, x = double(row), signal(graph)
    layer(x, graph)  # the plan stands
    products, sums = FlopCounterMode(display=False), Sums()
    plain = force_form("portable" if "portable" in row.forms else "gather") if row.forms else nullcontext()
    with torch.no_grad(), plain, products, sums:
        layer(x, graph)
    assert layer.work(graph, CHANNELS).multiply_adds == products.get_total_flops() // 2 + sums.numbers


# Worked out: multiply-adds of products, of sums, and edges. 35 = 3 · 5 + 5 · 4 is h of most rows, 50 = 6 · 5 + 5 · 4.
WORKED = {
    "Anisotropic": (N * 6 * 12 + N * 12, E * 6 * 3, E),
    "Anisotropic, plain sums": (N * 2 * 6, E * 2 * 3, E),
    "APPNP raw": (0, 2 * E * 3, 2 * E),
    "BatchNorm": (N * 6, 0, 0),
    "Cheb K=1": (N * 12, 0, 0),
    "Cheb sym K=4": (4 * N * 12, 3 * LOOPED * 3, 3 * E),
    "Cheb rw K=3": (3 * N * 12, 2 * LOOPED * 3, 2 * E),
    "Cheb combinatorial K=3": (3 * N * 12, 2 * LOOPED * 3, 2 * E),
    "Diffusion": (N * 9 + N * 9 * 4, 2 * E * 3, 2 * E),
    "Diffusion alone": (N * 6, E * 3, E),
    "DynamicEdge": (N * N * 3 + N * 30 + 4 * N * 20, 0, 4 * N),
    "DynamicEdge sum": (N * N * 3 + N * 24, 3 * N * 4, 3 * N),
    "Edge max": (N * 30 + E * 20, 0, E),
    "Edge mean": (N * 50, E * 5, E),
    "Edge linear": (N * 24, E * 4, E),
    "Edge free": (E * 24, 0, E),
    "GAT": (N * 3 * 6 + 2 * N * 6, LOOPED * 6, LOOPED),
    "GAT with edges": (N * 3 * 8 + N * 3 * 4 + 2 * N * 8, LOOPED * 8, LOOPED),
    "GATv2": (N * 3 * 12, 2 * LOOPED * 6, LOOPED),
    "GATv2 with edges": (N * 3 * 8, 2 * E * 8, E),
    "NN": (4 * N * 12 + N * 12, 4 * E * 3, E),
    "NN mean": (2 * N * 12, 2 * E * 3, E),
    "NN max": (E * 12 + N * 12, 0, E),
    "Flatten": (0, 0, 0),
    "GCN narrowing": (N * 6, LOOPED * 2, LOOPED),
    "GCN without loops": (N * 12, E * 3, E),
    "GCN raw": (N * 12, E * 3, E),
    "Geodesic": (N * 8 * 4 * 6 + N * 6, E * 8 * 3, E),
    "Geodesic without turns": (N * 4 * 12, E * 4 * 3, E),
    "GIN": (N * 35, (E + N) * 3, E),
    "GIN free": (N * 12, (E + N) * 3, E),
    "GMM": (5 * N * 12 + N * 12, 5 * E * 3, E),
    "GMM sum, no root": (3 * N * 12, 3 * E * 3, E),
    "GMM separate": (E * 12 + N * 12, E * 4, E),
    "GraphNorm": (N * 12, 0, 0),
    "InstanceNorm": (N * 9, 0, 0),
    "LayerNorm": (N * 9, 0, 0),
    "LayerNorm node": (N * 9, 0, 0),
    "GlobalAvgPool": (N * 3, 0, 0),
    "GlobalMaxPool": (N * 3, 0, 0),
    "GridPool max": (6 * 4 * 3, 0, 24),
    "GridPool average": (6 * 4 * 3, 0, 24),
    "GridPool min": (6 * 4 * 3, 0, 24),
    "GridPool overlapping, padded, rounded up": (3 * 4 * 9 * 3, 0, 3 * 4 * 9),
    "GridPool near max": (N * 9 * 3, 0, N * 9),
    "GridPool near mean": (N * 9 * 3, 0, N * 9),
    "GridPool adaptive": (N * 3, 0, N),
    "PatchySan": (12 * 5 * 12, 0, 8 * 5),  # every third of 24 nodes are 8, and four empty fields
    "PatchySan wl": (8 * 3 * 6, 0, 8 * 3),
    "SAGE max": (2 * N * 12, 0, E),
    "SAGE LSTM": (2 * N * 12, E * 8 * 9, E),
    "SAGE median, projected": (2 * N * 12 + N * 9, 0, E),
    "SAGE deviation": (2 * N * 12, E * 3, E),
    "SAGE softmax, no root": (N * 12, E * 3, E),
    "SAGE min, no root": (N * 12, 0, E),
    "own: differences": (N * 12, E * 4, E),
    "own: differences, two ways": (N * 12, E * 4, E),
    "LocalResponseNorm": (2 * N * 3, 0, 0),
    "SG narrowing": (N * 6, 3 * E * 2, 3 * E),
    "SSG narrowing": (N * 6, 2 * LOOPED * 2, 2 * LOOPED),
    "GatedGraph": (N * 6 * 16, E * 4, E),
    "GINE": (N * 35, (E + N) * 3, E),
    "Graph max": (2 * N * 12, 0, E),
    "ResGated": (4 * N * 12, E * 4, E),
    "ResGated with edges": (3 * N * 12, E * 4, E),
    "ResGated tanh": (4 * N * 12, E * 4, E),
    # Each of the eight offsets is a type, so that all edges into a node differ: as many pairs as edges.
    "RGCN": ((E + N) * 12, E * 3, E),
    "RGCN bases": (3 * N * 12 + N * 12, 3 * E * 3, E),
    "RGCN blocks": (E * 6, E * 3, E),
    "Transformer": (4 * N * 18, 2 * E * 6, E),
    "Transformer with edges": (N * 3 * 28 + 2 * N * 8 * 2 + N * 12, 2 * E * 2 * (4 + 2), E),
    "Spectral": (N * N * 7 + N * 12, 0, 0),
    "Spectral sym": (N * N * 7 + N * 12, 0, 0),
    "Spectral free": (N * N * 7 + N * 12, 0, 0),
    "Spline": (17 * N * 12, 4 * E * 3, E),
    "Spline quadratic, closed, sum": (15 * N * 12, 9 * E * 3, E),
    "Spline max": (E * 12 + N * 12, 0, E),
    "TAG narrowing, raw": (3 * N * 6, 2 * E * 2, 2 * E),
    "TAG K=0": (N * 12, 0, 0),
    # Along n cells the taps 0.75 apart find n nodes in the middle and n - 1 on either side, at a distance of 1.
    "Directional bilinear between cells": (N * 9 * 6, 10 * 16 * 3, 10 * 16),
    # Four σ are 1.6: a tap reads 3×3 cells. Along n cells those of the tap in the middle find 3 n - 2, next to it
    # 3 n - 3: two taps along 4 cells 10 + 9, three along 6 cells 15 + 16 + 15.
    "Directional gaussian": (N * 6 * 12, 19 * 46 * 3, 19 * 46),
}


def test_edges_of_those_that_are_counted():
    edges = {
        "APPNP": 4 * LOOPED, "ARMA": 2 * E, "ARMA stacks of shared steps": 6 * E, "ARMA stacks of steps": 4 * E,
        "Directional 1×1": 0, "Directional 3×3": 10 * 16, "Directional 3×3 dilated": 8 * 14,
        "Directional 5×5 strided": 7 * 12, "Directional bilinear": 10 * 16, "FeaSt": LOOPED, "FeaSt without loops": E,
        "GCN": LOOPED, "GIN learned, narrowing": E, "Graph": E, "MixHop": 2 * LOOPED,
        "MixHop narrowing": 3 * LOOPED, "SAGE": E, "SAGE sum, projected, unit length": E, "SAGE mean, no root": E,
        "SG": 2 * LOOPED, "SSG": 3 * LOOPED, "TAG": 3 * E, "own: weighted mean": E,
    }  # fmt: skip
    graph = grid_graph((4, 6))
    assert {name: double(BY_NAME[name]).work(graph, CHANNELS).edges for name in COUNTED} == edges


def test_loops_of_the_graph_make_place_for_those_of_the_layer():
    """Two nodes, an edge and a loop: GCN reads the edge and a loop at either, SAGE what is there."""
    graph = Graph(torch.tensor([[0, 0], [1, 0]]))
    assert double(BY_NAME["GCN"]).work(graph, CHANNELS).edges == 3
    assert double(BY_NAME["SAGE"]).work(graph, CHANNELS).edges == 2


@pytest.mark.parametrize("row", [row for row in ROWS if row.name not in COUNTED], ids=str)
def test_worked_numbers(row):
    products, sums, edges = WORKED[row.name]
    work = double(row).work(grid_graph((4, 6)), CHANNELS)
    assert (work.multiply_adds, work.edges) == (products + sums, edges)


# Of each layer a row, and what the letters of its `cost` mean there.
IN_WORDS = {
    "APPNP": ("APPNP", {"K": 4, "C": 3}),
    "ARMAConv": ("ARMA stacks of steps", {"K": 2, "T": 2, "C_out": 2}),
    "AnisotropicConv": ("Anisotropic", {"K": 6}),
    "BatchNorm": ("BatchNorm", {"C": 3}),
    "ChebConv": ("Cheb sym K=4", {"K": 4}),
    "DiffusionConv": ("Diffusion", {"H": 3, "F": 3}),
    "DirectionalConv": ("Directional 3×3 dilated", {"taps": 9, "groups": 3, "C_out": 6}),
    "DynamicEdgeConv": ("DynamicEdge sum", {"k": 3, "ends": 24, "rest": 0, "width": 4}),
    "EdgeConv": ("Edge max", {"ends": 30, "rest": 20, "width": 0}),
    "FeaStConv": ("FeaSt", {"H": 3}),
    "Flatten": ("Flatten", {"none": 0}),
    "GATConv": ("GAT", {"H": 3, "C_out": 2}),
    "GATv2Conv": ("GATv2", {"H": 3, "C_out": 2}),
    "GCNConv": ("GCN narrowing", {"C_out": 2}),
    "GINConv": ("GIN", {"first": 5, "cost": 35}),
    "GINEConv": ("GINE", {"cost": 35}),
    "GMMConv": ("GMM", {"K": 5}),
    "GatedGraphConv": ("GatedGraph", {"num_layers": 1}),
    "GeodesicConv": ("Geodesic", {"K": 8, "turns": 4, "C_out": 2}),
    "GlobalAvgPool": ("GlobalAvgPool", {"C": 3}),
    "GlobalMaxPool": ("GlobalMaxPool", {"C": 3}),
    "GraphConv": ("Graph", {}),
    "GraphNorm": ("GraphNorm", {"C": 3}),
    "GridPool": ("GridPool near mean", {"k": 9, "C": 3, "places": N}),
    "InstanceNorm": ("InstanceNorm", {"C": 3}),
    "LayerNorm": ("LayerNorm", {"C": 3}),
    "LocalResponseNorm": ("LocalResponseNorm", {"C": 3, "n": 2}),
    "MixHopConv": ("MixHop narrowing", {"longest": 3, "together": 3, "powers": 2, "C_out": 1}),
    "NNConv": ("NN", {"K": 3}),
    "PatchySanConv": ("PatchySan wl", {"w": 8, "k": 3, "C_out": 2}),
    "RGCNConv": ("RGCN", {"P": E}),
    "ResGatedGraphConv": ("ResGated", {}),
    "SAGEConv": ("SAGE", {}),
    "SGConv": ("SG", {"K": 2}),
    "SSGConv": ("SSG", {"K": 3}),
    "SpectralConv": ("Spectral", {}),
    "SplineConv": ("Spline", {"K": 16, "S": 4}),
    "TAGConv": ("TAG", {"K": 3}),
    "TransformerConv": ("Transformer", {"H": 3, "C_out": 2, "D": 0}),
}
# Letters of more than one word.
PHRASES = {
    "first width of h": "first", "linear ends of h": "ends", "rest of h": "rest", "cost of h": "cost", "|P|": "powers",
    "max P": "longest", "Σ_p p": "together", "N'": "places",
}  # fmt: skip


def formula(cost: str) -> str:
    """What comes before the explanations of a `cost`, as Python has it."""
    depth = 0
    for place, sign in enumerate(cost):
        depth += (sign == "(") - (sign == ")")
        if sign == "," and not depth:
            cost = cost[:place]
            break
    for phrase, name in PHRASES.items():
        cost = cost.replace(phrase, name)
    cost = cost.replace("·", "*").replace("²", "**2")
    return re.sub(r"(?<=[\w)]) (?=[\w(])", " * ", cost)


@pytest.mark.parametrize("layer", gconv.layers(), ids=lambda layer: layer.__name__)
def test_the_cost_in_words_is_the_cost_in_numbers(layer):
    name, letters = IN_WORDS[layer.__name__]
    made = double(BY_NAME[name])
    assert type(made) is layer
    values = {"N": N, "E": E, "C_in": 3, "C_out": 4, "min": min, **letters}
    work = made.work(grid_graph((4, 6)), CHANNELS)
    assert eval(formula(layer.cost), {"__builtins__": {}}, values) == work.multiply_adds
