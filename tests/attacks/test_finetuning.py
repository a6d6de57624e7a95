"""What was only pushed aside comes back by training on; what was never learned does not."""

import torch

from mu_monai.attacks import AdapterRemoval, Relearning, RetainFinetuning


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
