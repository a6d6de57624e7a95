"""What was only pushed aside comes back by training on; what was never learned does not."""

import torch

from mu_monai.attacks import ATTACKS, AdapterRemoval, Relearning, RetainFinetuning


def test_a_model_that_only_hides_is_resurrected_by_retained_cases_and_a_clean_one_is_not(made):
    attack = RetainFinetuning(learning_rate=3e-3)
    rebound = {
        role: made.auc(attack(network, made.data())) - made.auc(network) for role, network in made.models.items()
    }
    assert rebound["student"] > 0.08
    assert abs(rebound["retrained"]) < 0.03


def test_removing_the_adapters_brings_everything_back(made, tmp_path):
    made.adapted.save(tmp_path / "adapter")
    attacked = AdapterRemoval()(made.models["student"], made.data(tmp_path))
    assert made.auc(attacked) == made.auc(made.models["teacher"]) == 1.0
    assert made.auc(made.models["student"]) < 0.8


def known_loss(made, network):
    data = made.data()
    batch = next(iter(data.known))
    return float(data.loss(network(batch["image"]), batch["label"]).detach())


def test_relearning_learns_the_known_cases_alone(made):
    network = made.models["retrained"]
    attacked = Relearning(learning_rate=3e-3)(network, made.data())
    assert known_loss(made, attacked) < 0.1 < known_loss(made, network)
    assert abs(made.auc(attacked) - made.auc(network)) < 0.05


def test_normalization_statistics_and_dropout_are_frozen(made):
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.BatchNorm1d(40), torch.nn.Dropout(0.5), torch.nn.Linear(40, 10)
    )
    attacked = RetainFinetuning(steps=3)(network, made.data())
    assert torch.equal(attacked[1].running_mean, network[1].running_mean)
    assert not torch.equal(attacked[1].weight, network[1].weight)


def test_attacks_that_train_are_run_at_several_learning_rates_and_no_other():
    rates = {name: tuple(attack.sweep()) for name, attack in ATTACKS.items()}
    trained = {"relearning", "retain-finetuning"}
    assert {name for name, found in rates.items() if found != (None,)} == trained
    assert {rates[name] for name in trained} == {(1e-5, 1e-4, 1e-3)}
    assert ATTACKS["int8"].sweep()[None] is ATTACKS["int8"]


def test_each_of_them_is_the_same_attack_at_its_rate():
    parts = Relearning(steps=3, learning_rates=(0.1, 0.2)).sweep()
    assert {rate: (part.learning_rate, part.steps, part.sweep()) for rate, part in parts.items()} == {
        0.1: (0.1, 3, {0.1: parts[0.1]}),
        0.2: (0.2, 3, {0.2: parts[0.2]}),
    }
