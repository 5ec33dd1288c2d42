"""Weight files: what loads, what is adapted and said, and what is refused with nothing loaded."""

import hashlib
import http.server
import pickle
import threading
from functools import partial

import pytest
import torch
from torch import nn

from grid_cnn import Grid, models
from grid_cnn.weights import load, read


@pytest.fixture
def resnet():
    return models.resnet20_cifar()


@pytest.fixture
def file(tmp_path, resnet):
    path = tmp_path / "resnet20.pth"
    torch.save(resnet.state_dict(), path)
    return path


def same(model, state) -> bool:
    return all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def refused(model, source, match, **options):
    """Loading fails with this message, and the model is as it was."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=match) as error:
        load(model, source, **options)
    assert same(model, before)
    return str(error.value)


def test_create_loads_a_file(file, resnet, recwarn):
    assert same(models.create("resnet20_cifar", weights=file), resnet.state_dict())
    assert same(models.create("resnet20_cifar", weights=str(file)), resnet.state_dict())
    assert not [w for w in recwarn if "head" in str(w.message)]


def test_safetensors(tmp_path, resnet):
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "net.safetensors"
    safetensors.save_file(resnet.state_dict(), path)
    assert same(models.create("resnet20_cifar", weights=path), resnet.state_dict())
    path.write_bytes(path.read_bytes()[:1000])
    refused(models.resnet20_cifar(), path, "damaged or truncated")


def test_another_number_of_classes_is_said(file, resnet):
    with pytest.warns(UserWarning, match=r"new head, not trained: fc\.weight, fc\.bias"):
        net = models.create("resnet20_cifar", weights=file, num_classes=3)
    state = resnet.state_dict()
    assert net.fc.out_features == 3
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items() if not k.startswith("fc."))


def test_heads_of_every_auxiliary_classifier_are_swapped():
    trained = models.googlenet(num_classes=5, aux_logits=True, small=True)
    net = models.googlenet(num_classes=3, aux_logits=True, small=True)
    assert set(load(net, trained.state_dict()).new_head) == {
        f"{head}.{part}" for head in ("aux1.fc2", "aux2.fc2", "fc") for part in ("weight", "bias")
    }
    report = load(models.googlenet(num_classes=5, small=True), trained.state_dict())
    assert len(report.dropped) == 2 * (1 + 5 + 4)
    assert "auxiliary heads left out: 20 tensors" in str(report)


def test_other_input_channels(file, resnet):
    gray = models.resnet20_cifar(in_channels=1)
    message = refused(gray, file, r"conv1\.weight is \(16, 3, 3, 3\) in the file and \(16, 1, 3, 3\) in the model")
    assert "adapt_channels=True" in message
    report = load(gray, file, adapt_channels=True)
    assert report.adapted == "conv1.weight"
    x = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(gray.eval()(x), resnet.eval()(x.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)
    wide = models.create("resnet20_cifar", in_channels=5)
    load(wide, file, adapt_channels=True)
    torch.testing.assert_close(
        wide.eval()(x.expand(-1, 5, -1, -1)), resnet(x.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5
    )


def test_old_densenet_names():
    old = {}
    bottleneck = models.densenet121(small=True, num_classes=2)
    for key, value in bottleneck.state_dict().items():
        for part in ("norm1", "norm2", "conv1", "conv2"):
            key = key.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.")
        old[key] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    other = models.densenet121(small=True, num_classes=2)
    load(other, old)
    assert same(other, bottleneck.state_dict())


def test_wrapped_and_counted_keys(resnet):
    """Data-parallel files carry 'module.', old ones no count of batches, training scripts a 'state_dict'."""
    state = {f"module.{k}": v for k, v in resnet.state_dict().items() if not k.endswith("num_batches_tracked")}
    net = models.resnet20_cifar()
    load(net, state)
    assert all(torch.equal(v, resnet.state_dict()[k]) for k, v in net.state_dict().items() if "num_b" not in k)
    refused(net, {**state, **resnet.state_dict()}, "differ in 'module.' only")


def test_checkpoints_of_training_scripts(tmp_path, resnet):
    torch.save({"state_dict": resnet.state_dict(), "epoch": 3}, tmp_path / "c.pth")
    net = models.resnet20_cifar()
    load(net, tmp_path / "c.pth")
    assert same(net, resnet.state_dict())


def test_the_file_of_another_model(file):
    message = refused(models.densenet40_cifar(), file, "left over")
    assert "missing: features.conv0.weight" in message
    assert "nothing was loaded" in message
    assert " more" in message
    refused(models.resnet32_cifar(), file, r"missing: layer1\.3\.conv1\.weight")


def test_missing_and_left_over_keys_are_listed(resnet):
    state = dict(resnet.state_dict())
    state["layer9.weight"] = state.pop("layer1.0.conv1.weight")
    refused(models.resnet20_cifar(), state, r"missing: layer1\.0\.conv1\.weight; left over: layer9\.weight")


def test_wrong_shapes_are_listed(resnet):
    state = dict(resnet.state_dict())
    state["layer1.0.conv1.weight"] = torch.zeros(16, 16, 5, 5)
    refused(models.resnet20_cifar(), state, r"layer1\.0\.conv1\.weight is \(16, 16, 5, 5\) in the file")


@pytest.mark.parametrize("part", [0, 0.01, 0.5, 0.999])
def test_truncated_files(file, part):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * part)])
    refused(models.resnet20_cifar(), file, "damaged or truncated|refused")


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_the_pickle_is_not_run(tmp_path, zipped):
    trap, path = tmp_path / "ran", tmp_path / "bomb.pth"
    torch.save({"conv1.weight": Bomb(trap)}, path, _use_new_zipfile_serialization=zipped)
    refused(models.resnet20_cifar(), path, r"code in its pickle.*refused, and nothing in it was run")
    path.write_bytes(pickle.dumps(Bomb(trap)))
    refused(models.resnet20_cifar(), path, "nothing in it was run|damaged")
    assert not trap.exists()


def test_files_that_are_no_state_dict(tmp_path):
    path = tmp_path / "x.pth"
    for content, match in (([1, 2], "holds a list"), ({"a": 1}, "other things"), (torch.zeros(2), "holds a Tensor")):
        torch.save(content, path)
        refused(models.resnet20_cifar(), path, match)
    with pytest.raises(FileNotFoundError, match="no weight file"):
        read(tmp_path / "nowhere.pth")
    torch.save(nn.Linear(2, 2), path)
    refused(models.resnet20_cifar(), path, "code in its pickle")


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_downloads_are_checked(server, tmp_path, resnet):
    pytest.importorskip("pooch")
    folder, url = server
    torch.save(resnet.state_dict(), folder / "net.pth")
    digest = hashlib.sha256((folder / "net.pth").read_bytes()).hexdigest()
    (folder / f"net-{digest[:8]}.pth").write_bytes((folder / "net.pth").read_bytes())
    (folder / "net-00000000.pth").write_bytes((folder / "net.pth").read_bytes())
    cache = tmp_path / "cache"
    for address, options in ((f"{url}/net-{digest[:8]}.pth", {}), (f"{url}/net.pth", {"sha256": digest})):
        net = models.resnet20_cifar()
        load(net, address, folder=cache, **options)
        assert same(net, resnet.state_dict())
    net = models.resnet20_cifar()
    refused(net, f"{url}/net-00000000.pth", "checksum .* expected 00000000", folder=cache)
    refused(net, f"{url}/other.pth", "no checksum in its name; give sha256=", folder=cache)
    refused(net, f"{url}/nowhere-{digest[:8]}.pth", "could not be fetched", folder=cache)
    refused(net, "ftp://host/net-12345678.pth", r"a file or from http\(s\)", folder=cache)
    assert sorted(path.name for path in cache.iterdir()) == sorted([f"net-{digest[:8]}.pth", "net.pth"])


def test_features(resnet):
    x = torch.randn(2, 3, 8, 8)
    resnet.eval()
    taps = models.features(resnet, x, at=["layer1.0.bn1", "layer3", "fc"])
    assert list(taps) == ["layer1.0.bn1", "layer3", "fc"]
    assert taps["layer3"].shape == (2, 64, 2, 2)
    assert taps["layer1.0.bn1"].min() < 0  # what the norm gave, before the ReLU wrote over it
    torch.testing.assert_close(taps["fc"], resnet(x))
    torch.testing.assert_close(resnet.fc(taps["layer3"].mean((2, 3))), resnet(x))
    assert not resnet.layer3._forward_hooks
    with pytest.raises(ValueError, match=r"no module 'layer33': did you mean layer3"):
        models.features(resnet, x, at=["layer33"])
    net = models.googlenet(aux_logits=True, small=True).eval()
    with pytest.raises(ValueError, match="aux1: not run"):
        models.features(net, torch.zeros(1, 3, 16, 16), at=["aux1"])


def test_freeze(resnet):
    names = models.freeze(resnet, up_to="layer1.1.conv1")
    state = [name for name, _ in resnet.named_parameters()]
    assert names == state[: state.index("layer1.1.conv1.weight") + 1]
    assert [name for name, p in resnet.named_parameters() if not p.requires_grad] == names
    means = resnet.bn1.running_mean.clone()
    resnet(torch.randn(4, 3, 8, 8)).sum().backward()
    assert torch.equal(resnet.bn1.running_mean, means)
    assert resnet.layer1[1].bn1.training
    assert resnet.conv1.weight.grad is None
    assert resnet.layer1[1].conv2.weight.grad is not None
    whole = models.freeze(models.vgg11(small=True), up_to="features")
    assert all(name.startswith("features.") for name in whole)
    assert len(whole) == 16
    with pytest.raises(ValueError, match="no module 'layer'"):
        models.freeze(resnet, up_to="layer")


def test_weights_of_a_grid_on_its_small_form_do_not_fit_the_large_one():
    small = models.resnet18(small=True)
    refused(models.create("resnet18", domain=Grid((224, 224))), small.state_dict(), r"conv1\.weight is \(64, 3, 3, 3\)")
