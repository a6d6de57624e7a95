"""What every attack promises, whatever it does."""

from pathlib import Path

import pytest
import torch

from mu_monai import attacks
from mu_monai.adapters import weights_sha256
from mu_monai.attacks import ATTACKS, Attack, OtherSide

ON_VECTORS = [name for name, attack in ATTACKS.items() if not isinstance(attack, OtherSide)]  # which have no sides


@pytest.fixture(params=ON_VECTORS)
def attack(request):
    return ATTACKS[request.param]


@pytest.fixture
def folder(made, tmp_path):
    """What the student came in, adapters included."""
    made.adapted.save(tmp_path / "adapter")
    return tmp_path


def test_every_attack_of_the_package_is_listed():
    kinds = {kind for kind in vars(attacks).values() if isinstance(kind, type) and issubclass(kind, Attack)}
    assert kinds - {Attack} == {type(attack) for attack in ATTACKS.values()}
    files = {path.stem for path in Path(attacks.__file__).parent.glob("*.py")}
    own = {type(attack).__module__.rpartition(".")[2] for attack in ATTACKS.values()}
    assert files - own == {"__init__", "attack", "containers", "linear_probe", "search"}


def test_the_given_model_stays_bit_for_bit(made, attack, folder):
    network = made.models["student"]
    before = weights_sha256(network.state_dict())
    attacked = attack(network, made.data(folder))
    assert attacked is not network
    assert weights_sha256(network.state_dict()) == before != weights_sha256(attacked.state_dict())
    assert not any("orig" in name or "mask" in name or "lora" in name for name in attacked.state_dict())
    assert not attacked.training


def test_a_model_whose_weights_are_frozen_is_attacked_as_well(made, attack, folder):
    network = made.adapted.merged().requires_grad_(False)
    before = weights_sha256(network.state_dict())
    assert weights_sha256(attack(network, made.data(folder)).state_dict()) != before
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_the_same_seed_gives_the_same_model_and_draws_from_no_other(made, attack, folder):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = attack(made.models["student"], made.data(folder))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    second = attack(made.models["student"], made.data(folder))
    assert weights_sha256(first.state_dict()) == weights_sha256(second.state_dict())


def test_every_stage_is_told_and_the_last_is_the_result(made, attack, folder):
    steps = [step for step, _ in attack.stages(made.models["student"], made.data(folder))]
    assert steps == list(range(getattr(attack, "steps", 0) + 1))


def test_settings_and_summary_say_what_it_does(attack):
    assert "; " in attack.summary  # what is done; what it needs or is tested on
    assert type(attack)(**attack.settings()) == attack
