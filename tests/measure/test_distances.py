"""Distances of networks: by hand, by their properties, and what they leave alone."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.inferers import SlidingWindowInferer
from torch import nn

from mu_monai.measure import answer_distance, answer_distances, distances, layer_features, randomized, weight_distances

MOST = math.log(2)
logits = arrays(np.float32, (3, 2, 2), elements=st.floats(-80, 80, width=32)).map(torch.from_numpy)
softmaxes = pytest.mark.parametrize("softmax", [True, False])


def js(p, q):
    m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return sum((a * math.log(a / c) + b * math.log(b / c)) / 2 for a, b, c in zip(p, q, m, strict=True))


@softmaxes
@given(logits, logits)
@settings(max_examples=50, deadline=None)
def test_distances_are_symmetric_and_bounded(softmax, one, other):
    found = answer_distance(one, other, softmax=softmax)
    assert found == pytest.approx(answer_distance(other, one, softmax=softmax))
    assert 0 <= found.divergence <= MOST + 1e-12
    assert 0 <= found.activation_distance <= math.sqrt(2) + 1e-12


@softmaxes
@given(logits)
@settings(max_examples=25, deadline=None)
def test_equal_answers_are_at_zero(softmax, one):
    assert answer_distance(one, one, softmax=softmax) == (0, 0)


@given(logits, logits, logits)
@settings(max_examples=25, deadline=None)
def test_the_root_of_the_divergence_of_a_pixel_is_a_distance(a, b, c):
    ab, bc, ac = (
        math.sqrt(answer_distance(x[:, :1, 0], y[:, :1, 0], softmax=True).divergence)
        for x, y in ((a, b), (b, c), (a, c))
    )
    assert ac <= ab + bc + 1e-6


def test_two_pixels_by_hand():
    p, q = torch.tensor([[0.9, 0.5]]), torch.tensor([[0.6, 0.5]])
    found = answer_distance(p.logit(), q.logit(), softmax=False)
    assert found.divergence == pytest.approx(js([0.9, 0.1], [0.6, 0.4]) / 2, abs=1e-7)
    assert found.activation_distance == pytest.approx(math.sqrt(2) * 0.3 / 2)


def test_a_class_by_hand():
    p, q = [0.7, 0.2, 0.1], [0.1, 0.1, 0.8]
    found = answer_distance(torch.tensor(p).log(), torch.tensor(q).log(), softmax=True)
    assert found == pytest.approx((js(p, q), math.dist(p, q)), rel=1e-6)


def test_a_sigmoid_channel_is_two_softmax_channels():
    one, other = torch.randn(1, 5, 5), torch.randn(1, 5, 5)
    both = [torch.cat([channel, torch.zeros_like(channel)]) for channel in (one, other)]
    assert answer_distance(one, other, softmax=False) == pytest.approx(answer_distance(*both, softmax=True))


def test_sigmoid_channels_are_averaged():
    one, other = torch.randn(2, 3, 3), torch.randn(2, 3, 3)
    each = [answer_distance(one[[c]], other[[c]], softmax=False) for c in (0, 1)]
    assert answer_distance(one, other, softmax=False) == pytest.approx(tuple(np.mean(each, axis=0)))


@softmaxes
def test_large_images_are_taken_in_parts(softmax, monkeypatch):
    one, other = torch.randn(3, 7, 7), torch.randn(3, 7, 7)
    whole = answer_distance(one, other, softmax=softmax)
    monkeypatch.setattr(distances, "_PIXELS_AT_ONCE", 10)
    assert answer_distance(one, other, softmax=softmax) == pytest.approx(whole)


def test_the_reference_code_has_another_divergence():
    p, q = [0.7, 0.2, 0.1], [0.1, 0.1, 0.8]
    pairs = [torch.tensor(x).log() for x in (p, q)]
    middle = torch.tensor([(a + b) / 2 for a, b in zip(p, q, strict=True)])
    expected = sum(nn.functional.kl_div(x, middle, reduction="sum") / 3 for x in pairs) / 2
    found = answer_distance(*pairs, softmax=True, compat=True).divergence
    assert found == pytest.approx(float(expected), rel=1e-6)
    assert found != pytest.approx(js(p, q), rel=0.1)
    sure = torch.tensor([[2000.0], [-2000.0]])
    assert math.isfinite(answer_distance(sure, -sure, softmax=True, compat=True).divergence)


def test_every_case_and_pair_has_a_row(make_unet, loaders):
    models = {"student": make_unet(0), "retrained": make_unet(1), "teacher": make_unet(0)}
    pairs = [("student", "retrained"), ("student", "teacher")]
    table = answer_distances(models, pairs, loaders["forget"], softmax=False)
    assert list(table) == ["model", "against", "patient_id", "case_id", "js", "activation_distance"]
    assert table.groupby("against")["case_id"].nunique().to_dict() == {"retrained": 4, "teacher": 4}
    assert (table["js"] > 0).tolist() == (table["against"] == "retrained").tolist()
    image = loaders["forget"].dataset[0]["image"][None]
    with torch.no_grad():
        alone = answer_distance(models["student"](image)[0], models["retrained"](image)[0], softmax=False)
    first = table[table["against"] == "retrained"].iloc[0]
    assert (first["js"], first["activation_distance"]) == pytest.approx(alone, rel=1e-5)


def test_a_random_network_is_of_its_seed_and_changes_nothing_else(make_unet):
    network, state = make_unet(0), torch.random.get_rng_state()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    one, same, other = randomized(network, 1), randomized(network, 1), randomized(network, 2)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    for (name, a), b, c, old in zip(
        one.named_parameters(), same.parameters(), other.parameters(), network.parameters(), strict=True
    ):
        assert torch.equal(a, b)
        if name.endswith("conv.weight"):
            assert not torch.equal(a, c)
            assert not torch.equal(a, old)
    means = [value for name, value in one.named_buffers() if name.endswith("running_mean")]
    assert means
    assert not any(mean.any() for mean in means)
    assert not one.training


def test_weights_outside_of_layers_are_drawn_too():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.position = nn.Parameter(torch.full((1000,), 5.0))

    drawn = randomized(Positions()).position.detach()
    assert drawn.abs().max() <= 0.04
    assert float(drawn.std()) == pytest.approx(0.0176, rel=0.1)


def test_features_are_averages_of_what_layers_return(make_unet, loaders):
    network, image = make_unet(0), loaders["test"].dataset[0]["image"][None]
    features, patients = layer_features({"student": network}, loaders["test"])
    first = next(name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d))
    with torch.no_grad():
        expected = network.get_submodule(first)(image).mean((0, 2, 3))
    found = features["student"][first]
    assert found.shape == (3, 4)
    assert found.dtype == np.float64
    assert found[0] == pytest.approx(expected.numpy(), rel=1e-5)
    assert patients == [case["patient_id"] for case in loaders["test"].dataset]
    assert len(features["student"]) == sum(
        isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) for layer in network.modules()
    )


def test_windows_of_a_case_are_averaged():
    network, image = nn.Sequential(nn.Conv2d(1, 3, 1)), torch.randn(1, 1, 8, 8)
    case = {"image": image, "patient_id": ["p"], "case_id": ["c"]}
    whole, _ = layer_features({"student": network}, [case])
    windows, _ = layer_features({"student": network}, [case], inferer=SlidingWindowInferer(4, 3, overlap=0))
    assert windows["student"]["0"] == pytest.approx(whole["student"]["0"], rel=1e-5)


def test_tokens_are_averaged_and_layers_that_do_not_run_are_left_out():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(2, 3), nn.Linear(2, 3)

        def forward(self, image):
            return self.used(image.flatten(2).transpose(1, 2))

    image, network = torch.randn(2, 2, 4, 4), Tokens()
    batch = {"image": image, "patient_id": ["p", "q"], "case_id": ["c", "d"]}
    features, _ = layer_features({"student": network}, [batch])
    expected = network.used(image.mean((2, 3))).detach().numpy()
    assert list(features["student"]) == ["used"]
    assert features["student"]["used"] == pytest.approx(expected, abs=1e-6)


def test_hooks_are_gone_afterwards(make_unet, loaders):
    network = make_unet(0)
    layer_features({"student": network}, loaders["test"])
    assert not any(layer._forward_hooks for layer in network.modules())


def test_weights_and_statistics_are_apart(make_unet):
    one, other = make_unet(0), make_unet(0)
    assert not weight_distances(one, other)["distance"].any()
    name, norm = next((name, m) for name, m in one.named_modules() if isinstance(m, nn.BatchNorm2d))
    with torch.no_grad():
        norm.running_mean += 3
        norm.weight += 2
        norm.num_batches_tracked += 5
    table = weight_distances(one, other)
    moved = table[table["distance"] > 0].set_index("kind")
    assert set(moved["layer"]) == {name}
    assert moved["distance"]["weights"] == pytest.approx(2 * math.sqrt(norm.num_features))
    assert moved["distance"]["statistics"] == pytest.approx(3 * math.sqrt(norm.num_features))
    assert table.equals(weight_distances(one, other))
    assert table["distance"].tolist() == pytest.approx(weight_distances(other, one)["distance"].tolist())


def test_relative_to_nothing_is_not_a_number():
    one, other = nn.Sequential(nn.Linear(2, 1)), nn.Sequential(nn.Linear(2, 1))
    for weight in other.parameters():
        nn.init.zeros_(weight)
    assert weight_distances(one, other)["relative"].isna().all()
