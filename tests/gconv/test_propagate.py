"""`propagate`: three shapes of sums over neighbours, against dense products; every form of them the same."""

import importlib

import pytest
import torch
from graph_oracles import assert_close, few, graph_from, graphs, random_graph
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from gconv import ChebConv, Graph, Operator, force_form, grid_graph, propagate
from gconv.domains import structure as structures
from gconv.domains.structure import Rows, Structure
from gconv.functional import rows
from gconv.functional.forms import FORMS, forced_form, pick

SUM_FORMS = ("gather", "portable", "sparse")
OPERATOR_FORMS = ("gather", "stencil", "dense", "portable", "sparse")
LEADING = [(), (3,), (2, 3)]


def one_hot(structure: Structure) -> tuple[Tensor, Tensor]:
    """Which node each edge leaves and which it enters: `(E, sources)` and `(E, targets)`."""
    leaves = torch.zeros(structure.num_edges, structure.num_sources, dtype=torch.float64)
    enters = torch.zeros(structure.num_edges, structure.num_targets, dtype=torch.float64)
    for edge, (source, target) in enumerate(zip(structure.source.tolist(), structure.target.tolist(), strict=True)):
        leaves[edge, source] = enters[edge, target] = 1.0
    return leaves, enters


def dense_sum(x: Tensor, structure: Structure, weight: Tensor | None) -> Tensor:
    weight = torch.ones(structure.num_edges, dtype=torch.float64) if weight is None else weight
    return torch.einsum("es,et,e,...sc->...tc", *one_hot(structure), weight, x)


def dense_heads(x: Tensor, structure: Structure, weight: Tensor) -> Tensor:
    return torch.einsum("es,et,eh,...shc->...thc", *one_hot(structure), weight, x)


def dense_kernels(x: Tensor, structure: Structure, weight: Tensor) -> Tensor:
    return torch.einsum("es,et,ek,...sc->...tkc", *one_hot(structure), weight, x)


GRAPH = random_graph()
EDGES, NODES = GRAPH.num_edges, GRAPH.num_nodes
BIPARTITE = Structure(torch.tensor([0, 3, 3, 1, 0]), torch.tensor([1, 0, 1, 1, 1]), 4, 3)


def signal(*shape: int, **options: object) -> Tensor:
    return torch.randn(shape, **{"dtype": torch.float64, **options})


class TestShapes:
    @pytest.mark.parametrize("form", SUM_FORMS)
    @pytest.mark.parametrize("lead", LEADING)
    @pytest.mark.parametrize("structure", [GRAPH.structure, BIPARTITE], ids=["square", "bipartite"])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_a_weighted_sum(self, form, lead, structure, weighted):
        x, weight = signal(*lead, structure.num_sources, 3), signal(structure.num_edges) if weighted else None
        assert_close(propagate(x, structure, weight, form=form), dense_sum(x, structure, weight))

    @pytest.mark.parametrize("form", SUM_FORMS)
    @pytest.mark.parametrize("lead", LEADING)
    @pytest.mark.parametrize("heads", [1, 4])
    @pytest.mark.parametrize("structure", [GRAPH.structure, BIPARTITE], ids=["square", "bipartite"])
    def test_heads(self, form, lead, heads, structure):
        x, weight = signal(*lead, structure.num_sources, heads, 3), signal(structure.num_edges, heads)
        assert_close(propagate(x, structure, weight, form=form), dense_heads(x, structure, weight))

    @pytest.mark.parametrize("form", SUM_FORMS)
    @pytest.mark.parametrize("lead", LEADING)
    @pytest.mark.parametrize("count", [1, 4])
    @pytest.mark.parametrize("structure", [GRAPH.structure, BIPARTITE], ids=["square", "bipartite"])
    def test_kernels(self, form, lead, count, structure):
        x, weight = signal(*lead, structure.num_sources, 3), signal(structure.num_edges, count)
        assert_close(propagate(x, structure, weight, kernels=True, form=form), dense_kernels(x, structure, weight))

    @few
    @given(graphs(weighted=True), st.integers(0, 2), st.integers(1, 3))
    def test_on_graphs_of_every_kind(self, graph, lead, count):
        lead_shape, structure = (2, 3)[:lead], graph.structure
        x, weight = signal(*lead_shape, graph.num_nodes, 2), signal(graph.num_edges, count)
        for form in SUM_FORMS:
            out = propagate(x, graph, graph.edge_weight, form=form)
            assert_close(out, dense_sum(x, structure, graph.edge_weight))
            out = propagate(x, graph, weight, kernels=True, form=form)
            assert_close(out, dense_kernels(x, structure, weight))
            tall = x.unsqueeze(-2).expand(*x.shape[:-1], count, 2)
            assert_close(propagate(tall, graph, weight, form=form), dense_heads(tall, structure, weight))

    def test_a_graphs_own_weights_are_its_operators(self):
        x = signal(NODES, 2)
        assert_close(propagate(x, GRAPH), dense_sum(x, GRAPH.structure, None))
        assert_close(propagate(x, GRAPH.plan.adjacency()), dense_sum(x, GRAPH.structure, GRAPH.edge_weight))


def operators() -> list[Operator]:
    graphs = [grid_graph((4, 5)), grid_graph((3, 4), 4, periodic=True), grid_graph((3, 3, 2)), random_graph()]
    return [op for graph in graphs for op in (graph.plan.gcn(), graph.plan.laplacian("rw"), graph.plan.adjacency())]


def able(operator: Operator) -> list[str]:
    return [form for form in OPERATOR_FORMS if form != "stencil" or operator.stencil is not None]


class TestOperators:
    @pytest.mark.parametrize("lead", LEADING)
    @pytest.mark.parametrize("operator", operators(), ids=lambda operator: operator.name)
    def test_every_form_is_the_matrix(self, operator, lead):
        x = signal(*lead, operator.num_nodes, 3)
        for form in [None, *able(operator)]:
            assert_close(propagate(x, operator, form=form), operator.dense() @ x)

    @pytest.mark.parametrize("operator", operators(), ids=lambda operator: operator.name)
    def test_every_form_is_differentiable(self, operator):
        x = signal(2, operator.num_nodes, 1, requires_grad=True)
        for form in able(operator):
            (grad,) = torch.autograd.grad(propagate(x, operator, form=form).square().sum(), x, create_graph=True)
            matrix = operator.dense()
            assert_close(grad.detach(), (2 * matrix.T @ matrix @ x).detach())
            (again,) = torch.autograd.grad(grad.square().sum(), x)
            square = matrix.T @ matrix
            assert_close(again, (8 * square @ square @ x).detach())

    @pytest.mark.parametrize("channels", [1, 16, 17, 40])
    @pytest.mark.parametrize("size", [(8, 8), (9, 9)])
    def test_the_engines_choice_is_right_at_every_width(self, channels, size):
        operator, x = grid_graph(size).plan.gcn(), signal(2, size[0] * size[1], channels)
        assert_close(propagate(x, operator), operator.dense() @ x)


class TestGradients:
    @pytest.mark.parametrize("form", SUM_FORMS)
    @pytest.mark.parametrize("kind", ["sum", "heads", "kernels"])
    @pytest.mark.parametrize("structure", [random_graph(4, 5).structure, BIPARTITE], ids=["square", "bipartite"])
    def test_by_signal_and_weight_in_any_order(self, form, kind, structure):
        width = () if kind == "sum" else (2,)
        x = signal(2, structure.num_sources, *(width if kind == "heads" else ()), 2, requires_grad=True)
        weight = signal(structure.num_edges, *width, requires_grad=True)

        def run(x: Tensor, weight: Tensor) -> Tensor:
            return propagate(x, structure, weight, kernels=kind == "kernels", form=form)

        assert torch.autograd.gradcheck(run, (x, weight))
        assert torch.autograd.gradgradcheck(run, (x, weight))

    @pytest.mark.parametrize("form", SUM_FORMS)
    def test_by_one_of_them_alone(self, form):
        x, weight = signal(2, NODES, 2, requires_grad=True), signal(EDGES, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: propagate(x, GRAPH, form=form), x)
        assert torch.autograd.gradcheck(lambda x: propagate(x, GRAPH, weight.detach(), form=form), x)
        assert torch.autograd.gradcheck(lambda w: propagate(x.detach(), GRAPH, w, form=form), weight)

    @pytest.mark.parametrize("form", SUM_FORMS)
    def test_by_weights_of_each_signals_own(self, form):
        structure = random_graph(4, 5).structure
        x = signal(2, structure.num_sources, 2, 3, requires_grad=True)
        weight = signal(2, structure.num_edges, 2, requires_grad=True)
        wanted = torch.einsum("es,et,beh,bshc->bthc", *one_hot(structure), weight, x)
        assert_close(propagate(x, structure, weight, form=form).detach(), wanted.detach())
        assert torch.autograd.gradcheck(lambda x, w: propagate(x, structure, w, form=form), (x, weight))
        assert torch.autograd.gradgradcheck(lambda x, w: propagate(x, structure, w, form=form), (x, weight))

    def test_a_few_signals_at_a_time(self, monkeypatch):
        x, weight = signal(3, NODES, 2, requires_grad=True), signal(EDGES, requires_grad=True)
        whole = torch.autograd.grad(propagate(x, GRAPH, weight).square().sum(), (x, weight))
        monkeypatch.setattr(rows, "_WIDE", 4)  # two signals at a time
        for part, wanted in zip(
            torch.autograd.grad(propagate(x, GRAPH, weight).square().sum(), (x, weight)), whole, strict=True
        ):
            assert_close(part, wanted)


class TestLayoutsAndSizes:
    @pytest.mark.parametrize("form", OPERATOR_FORMS)
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
    def test_the_dtype_is_kept(self, form, dtype):
        graph, x = grid_graph((4, 5)), torch.rand(2, 20, 3, requires_grad=True)
        out = propagate(x.to(dtype), graph.plan.gcn(), form=form)
        out.sum().backward()
        assert out.dtype == dtype
        exact = graph.plan.gcn().dense().float()
        tolerance = {torch.bfloat16: 3e-2, torch.float16: 4e-3}.get(dtype, 1e-6)
        torch.testing.assert_close(out.detach().float(), exact @ x.detach(), rtol=0, atol=tolerance)
        torch.testing.assert_close(x.grad, exact.T @ torch.ones(20, 3).expand(2, 20, 3), rtol=0, atol=tolerance)

    @pytest.mark.parametrize("form", SUM_FORMS)
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("kernels", [False, True])
    def test_so_is_that_of_learned_weights(self, form, dtype, kernels):
        x = torch.rand(2, NODES, *(() if kernels else (4,)), 3).to(dtype).requires_grad_()
        weight = torch.rand(EDGES, 4).to(dtype).requires_grad_()
        out = propagate(x, GRAPH, weight, kernels=kernels, form=form)
        out.sum().backward()
        assert out.dtype == x.grad.dtype == weight.grad.dtype == dtype

    @pytest.mark.parametrize("form", SUM_FORMS)
    @pytest.mark.parametrize(("signals", "weights"), [(torch.bfloat16, torch.float32), (torch.float32, torch.float64)])
    def test_weights_of_another_dtype_follow_the_signal(self, form, signals, weights):
        x, weight = torch.rand(NODES, 2).to(signals), torch.rand(EDGES).to(weights).requires_grad_()
        out = propagate(x, GRAPH, weight, form=form)
        out.sum().backward()
        assert out.dtype == signals
        assert weight.grad.dtype == weights

    @pytest.mark.parametrize("form", SUM_FORMS)
    @pytest.mark.parametrize(
        "layout",
        [
            lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
            lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0),
            lambda x: x[:1].expand(4, -1, -1),
            lambda x: x.repeat(1, 1, 2)[..., ::2],
        ],
        ids=["channels first", "signals last", "expanded", "strided"],
    )
    def test_any_memory_layout(self, form, layout):
        x, weight = layout(signal(4, NODES, 3)), signal(EDGES)
        assert not x.is_contiguous()
        assert_close(propagate(x, GRAPH, weight, form=form), dense_sum(x, GRAPH.structure, weight))
        assert_close(propagate(x, GRAPH.plan.gcn(), form=form), GRAPH.plan.gcn().dense() @ x)
        leaf = signal(4, NODES, 3, requires_grad=True)
        (grad,) = torch.autograd.grad((propagate(leaf, GRAPH, weight, form=form) * x).sum(), leaf)
        (wanted,) = torch.autograd.grad((dense_sum(leaf, GRAPH.structure, weight) * x).sum(), leaf)
        assert_close(grad, wanted)

    @pytest.mark.parametrize("signals", [1, 63, 64, 65, 130])
    @pytest.mark.parametrize("isolated", ["last", "first"])
    def test_more_signals_than_a_block_holds(self, signals, isolated):
        edge_index = GRAPH.edge_index if isolated == "last" else NODES - 1 - GRAPH.edge_index
        structure, weight = Graph(edge_index, NODES).structure, signal(EDGES)
        assert structure.rows.block == 64
        x = signal(signals, NODES, 2, requires_grad=True)
        out, wanted = propagate(x, structure, weight), dense_sum(x, structure, weight)
        assert_close(out.detach(), wanted.detach())
        assert_close(propagate(x.float(), structure, weight.float()).detach(), wanted.detach().float(), 1e-5)
        assert_close(torch.autograd.grad(out.sum(), x)[0], torch.autograd.grad(wanted.sum(), x)[0])

    @pytest.mark.parametrize("entries", [1, 30, 70, 1 << 18])
    def test_blocks_of_any_size(self, entries, monkeypatch):
        monkeypatch.setattr(structures, "_BLOCK_ENTRIES", entries)
        graph, weight, x = random_graph(), signal(EDGES), signal(5, NODES, 2)
        assert graph.structure.rows.block == max(1, min(64, entries // EDGES))
        assert_close(propagate(x, graph, weight), dense_sum(x, graph.structure, weight))

    @pytest.mark.parametrize("by", ["target", "source", "neither"])
    def test_rows_are_in_the_edges_order(self, by):
        source, target = GRAPH.edge_index
        orders = {"target": target * NODES + source, "source": source * NODES + target, "neither": torch.randn(EDGES)}
        order = orders[by].argsort()
        structure = Structure(source[order], target[order], NODES, NODES)
        for table, ends in ((structure.rows, target[order]), (structure.columns, source[order])):
            assert torch.equal(table.order, ends.argsort(stable=True))
            assert torch.equal(table.offsets[: NODES + 1].long().diff(), torch.bincount(ends, minlength=NODES))
        weight, x = signal(EDGES), signal(2, NODES, 3)
        assert_close(propagate(x, structure, weight[order]), dense_sum(x, GRAPH.structure, weight))

    def test_indices_grow_with_the_number_of_nodes(self):
        far = 2**31
        few_nodes = Rows.build(torch.tensor([0, 1]), torch.tensor([1, 0]), 2, 2)
        many = Rows.build(torch.tensor([0, 1]), torch.tensor([far, 5]), 2, far + 1)
        assert few_nodes.index.dtype == few_nodes.offsets.dtype == torch.int32
        assert many.index.dtype == many.offsets.dtype == torch.int64
        assert many.index[:2].tolist() == [far, 5]

    @pytest.mark.parametrize("form", SUM_FORMS)
    @pytest.mark.parametrize("kernels", [False, True])
    def test_no_edges(self, form, kernels):
        graph, weight = graph_from([], 4), signal(0, 3, requires_grad=True)
        x = signal(2, 4, *(() if kernels else (3,)), 5, requires_grad=True)
        out = propagate(x, graph, weight, kernels=kernels, form=form)
        assert out.shape == (2, 4, 3, 5)
        out.sum().backward()
        assert not out.any()
        assert not x.grad.any()
        assert weight.grad.shape == (0, 3)

    @pytest.mark.parametrize("form", OPERATOR_FORMS)
    @pytest.mark.parametrize("shape", [(0, 20, 3), (20, 0), (2, 20, 0)], ids=str)
    def test_no_signals_or_no_channels(self, form, shape):
        graph, x = grid_graph((4, 5)), signal(*shape, requires_grad=True)
        out = propagate(x, graph.plan.gcn(), form=form)
        assert out.shape == shape
        out.sum().backward()
        assert x.grad.shape == shape

    @pytest.mark.parametrize("form", SUM_FORMS)
    @pytest.mark.parametrize("shape", [(0, NODES, 3), (NODES, 0), (2, NODES, 0)], ids=str)
    def test_learned_weights_over_nothing(self, form, shape):
        x, weight = signal(*shape), signal(EDGES, requires_grad=True)
        out = propagate(x, GRAPH, weight, form=form)
        assert out.shape == shape
        out.sum().backward()
        assert weight.grad.tolist() == [0.0] * EDGES


class TestCustomOperators:
    """torch's own checks of schema, fake tensors, autograd registration and ahead-of-time tracing."""

    @staticmethod
    def arguments(structure: Structure, x: Tensor, *weights: Tensor | None) -> tuple:
        there, back = structure.rows, structure.columns
        sizes = there.index, there.offsets, there.num_rows, there.block, back.index, back.offsets, back.block
        return (x, *weights, *sizes, structure.num_edges, structure.to_rows, structure.to_columns)

    @pytest.mark.parametrize("engine", ["bags", "sparse"])
    @pytest.mark.parametrize("structure", [GRAPH.structure, BIPARTITE], ids=["square", "bipartite"])
    @pytest.mark.parametrize("weights", ["none", "learned", "both ways"])
    def test_the_row_gather(self, structure, weights, engine):
        weight, order = signal(structure.num_edges), structure.rows.order
        given_weights = {
            "none": (None, None),
            "learned": (weight[order].requires_grad_(), None),
            "both ways": (weight[order], weight[structure.columns.order]),
        }
        x = signal(3, structure.num_sources, 2, requires_grad=True)
        torch.library.opcheck(
            rows._row_gather.registered, (*self.arguments(structure, x, *given_weights[weights]), engine)
        )

    def test_the_row_gather_without_an_engine(self):
        arguments = self.arguments(GRAPH.structure, signal(3, NODES, 2, requires_grad=True), None, None)
        torch.library.opcheck(rows._row_gather.registered, arguments)
        assert torch.equal(rows._row_gather(*arguments), rows._row_gather(*arguments, "bags"))

    @pytest.mark.parametrize("engine", ["bags", "sparse"])
    def test_the_edge_dot(self, engine):
        x, y = signal(3, NODES, 2, requires_grad=True), signal(3, NODES, 2, requires_grad=True)
        _, _, _, index, offsets, _, block, *back, _, forth, home = self.arguments(GRAPH.structure, x, None, None)
        for shared in (True, False):
            torch.library.opcheck(
                rows._edge_dot.registered, (x, y, shared, index, offsets, block, *back, forth, home, engine)
            )


class TestDeterminism:
    @pytest.mark.parametrize("form", OPERATOR_FORMS)
    def test_two_runs_agree_to_the_last_bit(self, form):
        graph = grid_graph((20, 20))

        def run() -> tuple[Tensor, Tensor]:
            x = torch.linspace(-1, 1, 3 * 400 * 5).reshape(3, 400, 5).requires_grad_()
            out = propagate(x, graph.plan.gcn(), form=form)
            return out.detach(), torch.autograd.grad(out.square().sum(), x)[0]

        assert all(torch.equal(one, other) for one, other in zip(run(), run(), strict=True))

    def test_so_do_the_gradients_of_learned_weights(self):
        weight = torch.linspace(-1, 1, EDGES * 3).reshape(EDGES, 3).requires_grad_()
        x = torch.linspace(-1, 1, 70 * NODES * 4).reshape(70, NODES, 4)

        def run() -> Tensor:
            return torch.autograd.grad(propagate(x, GRAPH, weight, kernels=True).square().sum(), weight)[0]

        assert torch.equal(run(), run())

    def test_a_signal_alone_and_in_a_batch_agree_to_the_last_bit(self):
        x, weight = torch.rand(70, NODES, 4), torch.rand(EDGES)
        out = propagate(x, GRAPH, weight)
        assert all(torch.equal(propagate(one, GRAPH, weight), wanted) for one, wanted in zip(x, out, strict=True))


class TestRefusals:
    @pytest.mark.parametrize(
        ("shape", "weight", "message"),
        [
            ((8, 2), None, r"x has shape \(\.\.\., 9, channels\) on this graph, got \(8, 2\)"),
            ((9,), None, r"got \(9,\)"),
            ((9, 2), (29,), r"weight has shape \(E,\) = \(30,\) here, got \(29,\)"),
            ((9, 2), (30, 1, 1), r"got \(30, 1, 1\)"),
            ((9, 2), (), r"weight has shape \(E,\)"),
            ((9, 4, 2), (29, 4), r"weight \(E, H\) with E = 30 .*got \(29, 4\) and \(9, 4, 2\)"),
            ((9, 3, 2), (30, 4), r"got \(30, 4\) and \(9, 3, 2\)"),
            ((9, 2), (30, 4), r"x \(\.\.\., N, H, C\)"),
            ((8, 4, 2), (30, 4), r"\(8, 4, 2\)"),
        ],
    )
    def test_shapes_that_do_not_fit(self, shape, weight, message):
        with pytest.raises(ValueError, match=message):
            propagate(signal(*shape), GRAPH, None if weight is None else signal(*weight))

    def test_kernels_that_do_not_fit(self):
        with pytest.raises(ValueError, match=r"weight has shape \(E, K\) with E = 30, got \(31, 4\)"):
            propagate(signal(NODES, 2), GRAPH, signal(31, 4), kernels=True)

    def test_weights_beside_an_operator(self):
        with pytest.raises(ValueError, match="an operator has its own weights"):
            propagate(signal(NODES, 2), GRAPH.plan.gcn(), signal(EDGES))

    def test_a_signal_that_does_not_fit_an_operator(self):
        with pytest.raises(ValueError, match=r"x has shape \(\.\.\., 9, channels\)"):
            propagate(signal(8, 2), GRAPH.plan.gcn())

    @pytest.mark.parametrize("form", ["dense", "stencil", "fused"])
    def test_a_form_that_cannot_run(self, form):
        with pytest.raises(ValueError, match=f"the form '{form}' cannot run this sum: gather, portable, sparse can"):
            propagate(signal(NODES, 2), GRAPH, form=form)

    def test_a_stencil_off_the_grid(self):
        message = "the form 'stencil' cannot run this sum: gather, dense, portable, sparse can"
        with pytest.raises(ValueError, match=message):
            propagate(signal(NODES, 2), GRAPH.plan.gcn(), form="stencil")

    def test_kernels_of_a_gpu_on_the_cpu(self):
        message = (
            r"the form 'triton' cannot run this sum: .* can; 'triton' needs Triton, and signals on a GPU or TRITON_"
        )
        for weight in (None, signal(EDGES), signal(EDGES, 1)):
            x = signal(NODES, 2) if weight is None or weight.dim() == 1 else signal(NODES, 1, 2)
            with pytest.raises(ValueError, match=message):
                propagate(x, GRAPH, weight, form="triton")
        with pytest.raises(ValueError, match=message):
            propagate(signal(NODES, 2), GRAPH.plan.gcn(), form="triton")

    def test_a_form_that_the_device_has_not(self):
        with pytest.raises(ValueError, match=r"the form 'sparse' cannot run this sum: gather, portable can$"):
            propagate(signal(NODES, 2, device="meta"), GRAPH, form="sparse")

    def test_an_unknown_engine(self):
        with pytest.raises(ValueError, match="unknown engine 'magic': there are bags, sparse, triton"):
            rows.gather(signal(1, NODES, 2), GRAPH.structure, None, "magic")

    def test_an_unknown_form(self):
        for call in (lambda: propagate(signal(NODES, 2), GRAPH, form="magic"), force_form("magic").__enter__):
            with pytest.raises(ValueError, match="unknown form 'magic': there are gather, stencil, dense"):
                call()


@pytest.fixture
def ran(monkeypatch) -> list[str]:
    """The forms that run from here on."""
    names: list[str] = []

    def watch(owner: object, attribute: str, name: str) -> None:
        inner = getattr(owner, attribute)
        monkeypatch.setattr(owner, attribute, lambda *given: (names.append(name), inner(*given))[1])

    engine = importlib.import_module("gconv.functional.propagate")
    forms = {"bags": "gather", "sparse": "sparse"}
    inner = rows._row_gather
    monkeypatch.setattr(rows, "_row_gather", lambda *given: (names.append(forms[given[-1]]), inner(*given))[1])
    watch(engine, "portable", "portable")
    watch(engine, "_stencil", "stencil")
    watch(Operator, "dense", "dense")
    return names


class TestForcedForms:
    @pytest.mark.parametrize("form", OPERATOR_FORMS)
    def test_the_named_form_runs(self, form, ran):
        operator, x = grid_graph((4, 5)).plan.gcn(), signal(20, 2)
        with force_form(form):
            propagate(x, operator)
        propagate(x, operator, form=form)
        assert ran == [form, form]

    def test_a_form_given_in_the_call_goes_first(self, ran):
        with force_form("dense"):
            propagate(signal(20, 2), grid_graph((4, 5)).plan.gcn(), form="portable")
        assert ran == ["portable"]

    def test_where_it_cannot_run_the_engine_chooses(self, ran):
        with force_form("stencil"):
            propagate(signal(90, 2), random_graph(90, 100).plan.gcn())
        with force_form("eigenbasis"):
            propagate(signal(90, 2), random_graph(90, 100).plan.gcn())
        assert ran == ["gather", "gather"]

    def test_blocks_nest_and_restore(self):
        assert forced_form() is None
        with force_form("gather"):
            with force_form("dense"):
                assert forced_form() == "dense"
            assert forced_form() == "gather"
        assert forced_form() is None

    def test_an_exception_restores_too(self):
        with pytest.raises(KeyError), force_form("gather"), force_form("dense"):
            raise KeyError
        assert forced_form() is None
        with force_form("portable"):
            with pytest.raises(ValueError, match="unknown form"), force_form("magic"):
                pass
            assert forced_form() == "portable"

    @pytest.mark.parametrize("form", FORMS)
    def test_every_name_is_known(self, form):
        with force_form(form):
            assert pick(None, (form, "other"), "other", "") == form
            assert pick(None, ("other",), "other", "") == "other"

    @pytest.mark.parametrize("form", FORMS)
    def test_no_name_stops_a_network_on_a_directed_graph(self, form):
        layer, x = ChebConv(2, 2, 3), torch.rand(NODES, 2)
        wanted = layer(x, GRAPH).detach()
        with force_form(form):
            assert_close(layer(x, GRAPH).detach(), wanted, 1e-6)


class TestTracing:
    @pytest.mark.parametrize("form", OPERATOR_FORMS)
    def test_an_export_in_a_new_dtype_leaves_real_tensors_behind(self, form):
        graph = grid_graph((4, 5))

        class Sum(torch.nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return propagate(x, graph.plan.gcn(), form=form)

        x = torch.rand(2, 20, 3)
        wanted = Sum()(x.double())
        exported = torch.export.export(Sum(), (x,)).module()
        out = Sum()(x)
        assert not isinstance(out, FakeTensor)
        assert_close(out, wanted.float(), 1e-6)
        assert_close(exported(x), out, 1e-6)
