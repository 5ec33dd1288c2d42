"""bind: an ordinary module with forward(x) only, that shares everything with the model it wraps."""

import copy
import inspect
import io

import pytest
import torch
from torch import nn

from grid_cnn import (
    AvgPool2d,
    BatchNorm2d,
    Bound,
    Conv1d,
    Conv2d,
    Flatten,
    GlobalAvgPool,
    Grid,
    Layer,
    MaxPool2d,
    Sequential,
    bind,
    models,
)
from grid_cnn.layer import named

GRID = Grid((8, 8))
TORUS = Grid((8, 8), periodic=True)


def small_net() -> Sequential:
    return Sequential(
        named(
            features=Sequential(Conv2d(2, 4, 3, padding="same"), BatchNorm2d(4), nn.ReLU(), MaxPool2d(2)),
            drop=nn.Dropout(0.5),
            flatten=Flatten(),
            fc=nn.Linear(64, 3),
        )
    )


def pictures(batch: int = 2, channels: int = 2) -> torch.Tensor:
    return torch.randn(batch, channels, 8, 8)


class Line:
    """A domain that is no grid: twelve nodes in a row. It notes where it was moved."""

    num_nodes = 12

    def __init__(self, device="cpu"):
        self.device = torch.device(device)

    def to(self, device):
        return Line(device)

    def zeros(self, channels, *, dtype, device):
        return torch.zeros(1, self.num_nodes, channels, dtype=dtype, device=device)


class Scale(Layer):
    """A layer with a buffer that is kept out of the state dict, and one that is not."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("kept", torch.ones(1))
        self.register_buffer("cache", torch.ones(1), persistent=False)
        self.calls = []

    def forward(self, x, domain=None):
        self.calls.append((x, domain, torch.is_grad_enabled()))
        return x * self.weight


@pytest.mark.parametrize("grid", [GRID, TORUS])
def test_gives_what_the_model_gives_on_its_domain(grid):
    model, x = small_net().eval(), pictures()
    bound = bind(model, grid)
    assert torch.equal(bound(x), model(x, grid))
    assert torch.equal(bound(x), model(x)) == (not grid.periodic)


def test_is_an_ordinary_module():
    bound = bind(small_net(), GRID)
    assert isinstance(bound, Bound)
    assert isinstance(bound, nn.Module)
    assert not isinstance(bound, Layer)
    assert list(inspect.signature(bound.forward).parameters) == ["x"]
    with pytest.raises(TypeError):
        bound(pictures(), GRID)
    assert "Grid((8, 8))" in repr(bound)
    assert "features" in repr(bound)


@pytest.mark.parametrize("make", [small_net, lambda: Conv2d(2, 3, 3), lambda: BatchNorm2d(2), lambda: MaxPool2d(2)])
def test_state_dict_has_the_names_of_the_model(make):
    model = make()
    bound = bind(model, GRID)
    assert list(bound.state_dict()) == list(model.state_dict())
    assert dict(bound.named_parameters()).keys() == dict(model.named_parameters()).keys()
    assert dict(bound.named_buffers()).keys() == dict(model.named_buffers()).keys()
    other = make()
    other.load_state_dict(bound.state_dict(), strict=True)
    bound.load_state_dict(make().state_dict(), strict=True)
    for key, value in model.state_dict().items():
        assert torch.equal(value, bound.state_dict()[key])


def test_what_the_model_keeps_out_of_its_state_dict_stays_out():
    model = Scale()
    assert list(bind(model, GRID).state_dict()) == list(model.state_dict()) == ["weight", "kept"]


def test_parameters_are_shared():
    model = small_net()
    bound = bind(model, GRID)
    for parameter, other in zip(bound.parameters(), model.parameters(), strict=True):
        assert parameter is other
    for buffer, other in zip(bound.buffers(), model.buffers(), strict=True):
        assert buffer is other
    assert bound.fc is model.fc
    bound(pictures()).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    bound.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())
    bound.requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_training_the_bound_model_trains_the_model():
    model, x, target = small_net(), pictures(8), torch.arange(8) % 3
    bound = bind(model, GRID)
    optimizer = torch.optim.SGD(bound.parameters(), lr=0.1)
    before = nn.functional.cross_entropy(model.eval()(x), target)
    bound.train()
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(bound(x), target).backward()
        optimizer.step()
    assert nn.functional.cross_entropy(model.eval()(x), target) < before


def test_modes_go_through():
    model = small_net()
    bound = bind(model, GRID)
    assert bound.eval() is bound
    assert not any(module.training for module in (bound, model, *model.modules()))
    assert bound.train() is bound
    assert all(module.training for module in (bound, model, *model.modules()))
    x = pictures()
    assert not torch.equal(bound(x), bound(x))
    bound.eval()
    assert torch.equal(bound(x), bound(x))


def test_modes_of_the_model_are_those_of_the_bound_model():
    model = small_net()
    bound = bind(model, GRID)
    model.eval()
    assert not bound.training
    model.train()
    assert bound.training


@pytest.mark.parametrize("training", [False, True])
def test_binding_keeps_the_mode(training):
    bound = bind(small_net().train(training), GRID)
    assert bound.training == training
    assert all(module.training == training for module in bound.modules())


def test_heads_swapped_on_either_side_are_swapped_on_the_other():
    model, x = small_net(), pictures()
    bound = bind(model, GRID)
    bound.fc = nn.Linear(64, 5)
    assert model.fc is bound.fc
    assert model(x).shape == bound(x).shape == (2, 5)
    model.fc = nn.Linear(64, 7)
    assert model(x).shape == bound(x).shape == (2, 7)
    model[-1] = nn.Linear(64, 9)
    assert model(x).shape == bound(x).shape == (2, 9)
    assert bound.state_dict()["fc.weight"].shape == (9, 64)
    model.features[0].weight = nn.Parameter(torch.zeros(4, 2, 3, 3))
    assert not bound.state_dict()["features.0.weight"].any()


def test_heads_taken_off_and_put_on():
    """`del`, `pop` and `append` too: the parameters of the bound model stay those that it computes with."""
    model = Sequential(Conv2d(2, 1, 3), Flatten(), nn.Linear(36, 3), nn.ReLU())
    bound = bind(model, GRID)
    model.pop(-1)
    del model[-1]
    model.append(nn.Linear(36, 5))
    assert bound(pictures()).shape == (2, 5)
    assert list(bound.state_dict()) == list(model.state_dict())
    assert {id(p) for p in bound.parameters()} == {id(p) for p in model.parameters()}


def test_copies_are_independent():
    model, x = small_net().eval(), pictures()
    bound = bind(model, TORUS)
    before = bound(x)
    other = copy.deepcopy(bound)
    assert torch.equal(other(x), before)
    assert other.domain == TORUS
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert not other(x).any()
    assert torch.equal(bound(x), before)
    other.fc = nn.Linear(64, 6)
    assert other(x).shape == (2, 6)
    assert bound(x).shape == (2, 3)
    other.train()
    assert not bound.training
    assert not model.training


def test_a_bound_model_survives_a_file():
    bound, x = bind(small_net().eval(), TORUS), pictures()
    file = io.BytesIO()
    torch.save(bound, file)
    file.seek(0)
    other = torch.load(file, weights_only=False)
    assert torch.equal(other(x), bound(x))
    other.fc = nn.Linear(64, 6)
    assert other(x).shape == (2, 6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_moving_to_another_dtype(dtype):
    model = small_net().eval()
    bound = bind(model, GRID)
    assert bound.to(dtype) is bound
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert model.features[1].running_mean.dtype == dtype
    assert bound(pictures().to(dtype)).dtype == dtype
    assert bind(model, GRID)(pictures().to(dtype)).dtype == dtype


def test_the_domain_moves_along():
    model = Scale()
    bound = bind(model, Line("meta"))
    assert bound.domain.device.type == "cpu"  # where the model is
    assert model.calls[-1][1] is bound.domain
    bound.to("meta")
    assert model.weight.device.type == "meta"
    assert bound.domain.device.type == "meta"
    assert bind(model, Line()).domain.device.type == "meta"
    assert model.calls[-1][0].device.type == "meta"


def test_runs_once_dry():
    model = Scale().double()
    bind(model, Line())
    ((signal, domain, recorded),) = model.calls
    assert isinstance(domain, Line)
    assert signal.shape == (1, 12, 1)
    assert signal.dtype == torch.float64
    assert not signal.any()
    assert not recorded


def test_the_dry_run_leaves_no_trace():
    """Not in running statistics, modes, random numbers or gradients."""
    model = small_net()
    model.features[1].eval()  # a frozen normalisation within a model in training
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    grads = [parameter.grad for parameter in model.parameters()]
    rng = torch.get_rng_state()
    bound = bind(model, GRID)
    assert torch.equal(torch.get_rng_state(), rng)
    assert [module.training for module in model.modules()] == modes
    assert bound.training
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        assert parameter.grad is grad
        assert (grad == 0.5).all()
    assert state.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_running_statistics_of_a_model_in_training():
    model = small_net().train()
    bind(model, GRID)
    assert model.features[1].num_batches_tracked == 0
    assert torch.equal(model.features[1].running_var, torch.ones(4))


def test_a_dry_run_that_fails_leaves_the_modes_alone():
    model = small_net().train()
    with pytest.raises(ValueError, match="Conv2d"):
        bind(model, Grid((8, 8, 8)))
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("name", ["linear", "mlp", "lenet5"])
def test_binds_networks_of_three_channels(name):
    """Dense ones too, whose first layer takes any number of channels."""
    model = models.create(name, in_channels=3, domain=GRID, **({"padding": "same"} if name == "lenet5" else {}))
    x = pictures(2, 3)
    torch.testing.assert_close(bind(model, GRID)(x), model(x))


def test_channels_are_those_that_the_first_asking_layer_asks_for():
    model = Sequential(nn.ReLU(), MaxPool2d(2), Sequential(BatchNorm2d(3)), Conv2d(3, 5, 3)).eval()
    x = pictures(2, 3)
    torch.testing.assert_close(bind(model, GRID)(x), model(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sequential(GlobalAvgPool(), nn.Linear(3, 2)),
        lambda: Sequential(AvgPool2d(2), Flatten(), nn.Linear(48, 2)),
    ],
    ids=["global pool", "pool and flatten"],
)
def test_channels_that_no_layer_asks_for(make):
    """Either they are found out, or the message says that they are not known; it is not a failing matrix product."""
    model, x = make(), pictures(2, 3)
    try:
        bound = bind(model, GRID)
    except ValueError:
        with pytest.raises(ValueError, match="channel"):
            bind(model, GRID)
        return
    torch.testing.assert_close(bound(x), model(x))


@pytest.mark.parametrize(
    ("model", "domain"),
    [
        (lambda: models.lenet5(domain=Grid((32, 32))), Grid((28, 28))),
        (lambda: models.lenet5(), Grid((40, 40))),
        (lambda: models.mlp(), Grid((8, 8))),
        (lambda: Sequential(Conv2d(1, 1, 3), Conv2d(2, 1, 3)), Grid((8, 8))),
        (lambda: Conv2d(1, 1, 9), Grid((8, 8))),
        (lambda: Conv2d(1, 1, 3), Grid((8,))),
        (lambda: Conv1d(1, 1, 3), Grid((8, 8))),
    ],
    ids=["smaller", "larger", "dense", "channels", "kernel", "line", "picture"],
)
def test_a_model_that_does_not_fit_its_domain(model, domain):
    with pytest.raises(ValueError, match=r"\d"):
        bind(model(), domain)


def test_a_layer_for_grids_on_another_domain():
    with pytest.raises(TypeError, match="Conv2d works on a Grid"):
        bind(Conv2d(1, 1, 3), Line())


@pytest.mark.parametrize("model", [nn.Conv2d(1, 1, 3), nn.Sequential(nn.ReLU()), nn.ReLU(), None, Conv2d, "lenet5"])
def test_wrong_models(model):
    name = type(model).__name__
    with pytest.raises(TypeError, match=f"bind takes a Layer, got {name}") as error:
        bind(model, GRID)
    assert "\n" not in str(error.value)


def test_a_bound_model_is_not_bound_again():
    with pytest.raises(TypeError, match="bind takes a Layer, got Bound"):
        bind(bind(Conv2d(1, 1, 3), GRID), GRID)


@pytest.mark.parametrize("domain", [None, (8, 8), 8, torch.zeros(8, 8), "grid", nn.ReLU()])
def test_wrong_domains(domain):
    with pytest.raises(TypeError, match=f"Grid or a Graph as domain, got {type(domain).__name__}"):
        bind(Conv2d(1, 1, 3), domain)


def test_signals_that_do_not_fit_the_bound_domain():
    bound = bind(small_net(), GRID)
    with pytest.raises(
        ValueError, match=r"Conv2d expects a signal \(batch, channels, 8, 8\), got shape \(2, 2, 8, 9\)"
    ):
        bound(torch.zeros(2, 2, 8, 9))
    with pytest.raises(ValueError, match=r"Conv2d expects 2 channels, got 3"):
        bound(torch.zeros(2, 3, 8, 8))


COMPILED = {
    "lenet5": lambda: bind(models.lenet5(domain=GRID, padding="same"), GRID),
    "torus": lambda: bind(models.lenet5(domain=TORUS, padding="same"), TORUS),
    "norm and drop": lambda: bind(Sequential(Conv2d(1, 2, 3, true_convolution=True), *small_net()[1:3]), GRID),
    "mlp": lambda: bind(models.mlp(hidden=(5,), domain=GRID), GRID),
}


@pytest.mark.parametrize("name", COMPILED)
def test_compiles_without_a_break(name):
    torch.compiler.reset()
    bound, x = COMPILED[name]().eval(), pictures(3, 1).requires_grad_()
    compiled = torch.compile(bound, fullgraph=True, backend="aot_eager")
    y, again = bound(x), compiled(x)
    torch.testing.assert_close(again, y)
    for grad, other in zip(
        *(torch.autograd.grad(t.square().sum(), [x, *bound.parameters()]) for t in (again, y)), strict=True
    ):
        torch.testing.assert_close(grad, other)


@pytest.mark.parametrize("name", COMPILED)
def test_exports(name):
    bound, x = COMPILED[name]().eval(), pictures(3, 1)
    exported = torch.export.export(bound, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    assert set(exported.state_dict) == set(bound.state_dict())
    for batch in (3, 5):
        x = pictures(batch, 1)
        torch.testing.assert_close(exported.module()(x), bound(x))


def test_in_training_the_compiled_model_moves_the_running_statistics():
    torch.compiler.reset()
    model, other = small_net()[:1], small_net()[:1]
    other.load_state_dict(model.state_dict())
    x = pictures()
    compiled = torch.compile(bind(model, GRID), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), bind(other, GRID)(x))
    torch.testing.assert_close(model.state_dict(), other.state_dict())
    assert model.features[1].num_batches_tracked == 1
