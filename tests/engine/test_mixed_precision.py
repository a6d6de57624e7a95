"""Mixed precision of a run: what computes in 16 bits, what does not, on which devices, and what is recorded."""

import pytest
import torch
from ignite.engine import Events

from mu_monai import precision
from mu_monai.engine import MixedPrecision, mixed_precision
from mu_monai.errors import InputError
from mu_monai.measure import mean_case_loss
from mu_monai.runs import read_record


@pytest.fixture
def fp16(monkeypatch):
    """A device that has no bfloat16."""
    monkeypatch.setattr(mixed_precision, "half_for", lambda device: torch.float16)


def computed_in(network) -> list[torch.dtype]:
    """The types of the network's answers from now on."""
    found = []
    network.register_forward_hook(lambda module, inputs, answer: found.append(answer.dtype))
    return found


def test_training_passes_are_in_16_bits_and_measurements_in_32(run, make_unet):
    trainer = run.trainer(make_unet(), handlers=[MixedPrecision(True)], epochs=1)
    answers, losses = computed_in(trainer.network), []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: losses.append(trainer.state.output["loss"].dtype))
    trainer.run()
    assert set(answers) == {torch.bfloat16}
    assert set(losses) == {torch.float32}
    answers.clear()
    mean_case_loss(trainer, trainer.network, run.loaders["retain"])
    assert set(answers) == {torch.float32}
    assert {weight.dtype for weight in trainer.network.parameters()} == {torch.float32}


def test_nothing_happens_by_default(run, make_unet):
    trainer = run.trainer(make_unet(), handlers=[MixedPrecision()], epochs=1)
    answers = computed_in(trainer.network)
    trainer.run()
    assert set(answers) == {torch.float32}
    assert mixed_precision.precision_of(trainer) == "fp32"


def test_without_bfloat16_the_loss_is_scaled(run, make_unet, fp16):
    plain, trainer = (run.trainer(make_unet(), handlers=[MixedPrecision(on)], epochs=1) for on in (False, True))
    answers = computed_in(trainer.network)
    plain.run()
    trainer.run()
    assert set(answers) == {torch.float16}
    assert trainer.scaler.get_scale() >= 1
    assert trainer.state.output["loss"].dtype == torch.float32
    assert trainer.state.output["loss"].item() == pytest.approx(plain.state.output["loss"].item(), rel=0.1)


def test_the_record_says_it_and_a_run_is_resumed_in_the_same(run, at):
    def stop(engine):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.unlearning(epochs=3, before=[MixedPrecision(True)], after=[at(Events.EPOCH_STARTED, stop, 2)]).run()
    assert read_record(run.folder).precision == "bf16"
    with pytest.raises(InputError, match="precision was bf16 and is now fp32; resume with the same"):
        run.unlearning(epochs=3, resume=True).run()
    run.unlearning(epochs=3, resume=True, before=[MixedPrecision(True)]).run()
    assert read_record(run.folder).precision == "bf16"


def test_another_value_than_true_or_false_is_refused():
    with pytest.raises(InputError, match="amp='maybe' is not allowed; use true or false"):
        MixedPrecision("maybe")


def test_old_gpus_have_float16_and_other_devices_nothing(monkeypatch):
    gpu = torch.device("cuda", 0)
    for supported, dtype in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, found=supported: found)
        assert precision.half_for(gpu) == dtype
    with pytest.raises(
        InputError, match="amp=true needs a CPU or an NVIDIA GPU, and the device is 'mps'; use amp=false"
    ):
        precision.half_for(torch.device("mps"))
