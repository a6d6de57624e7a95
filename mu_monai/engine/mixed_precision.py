"""Mixed precision of a whole run: every pass that the trainer or a method takes through the inferer."""

from __future__ import annotations

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer

from mu_monai.errors import InputError, raise_if_any
from mu_monai.precision import FULL, Mixed, half_for, in_full, named
from mu_monai.processes import differing

_PRECISION = "precision"  # the place in the engine's state


class MixedPrecision:
    """Lets the network of a `SupervisedTrainer` compute in 16 bits: in bfloat16, or float16 where a GPU lacks it.

    The trainer's inferer is wrapped, through which trainer and methods apply student and teacher. Weights, losses and
    the optimizer stay in 32 bits, and so does what is measured. For float16 the loss is scaled, as MONAI's
    `SupervisedTrainer(amp=True)` does.

    Args:
        enabled: whether to do so; otherwise nothing happens.

    Raises:
        InputError: for another value than true or false, a device that cannot, or processes with different devices.
    """

    def __init__(self, enabled: bool = False) -> None:
        if not isinstance(enabled, bool):
            raise InputError(f"amp={enabled!r} is not allowed; use true or false")
        self._enabled = enabled

    def attach(self, engine: SupervisedTrainer) -> None:
        """Hook to the start; attach it before the method."""
        if self._enabled:
            engine.add_event_handler(Events.STARTED, self._begin)

    def _begin(self, engine: SupervisedTrainer) -> None:
        device = torch.device(engine.state.device)
        dtype = half_for(device)
        raise_if_any(differing({"the precision": named(dtype)}))
        setattr(engine.state, _PRECISION, named(dtype))
        engine.inferer = Mixed(in_full(engine.inferer), device, dtype)
        if dtype == torch.float16:
            engine.amp, engine.amp_kwargs = True, {"enabled": False}  # losses in 32 bits, and a scaler
            engine.scaler = torch.amp.GradScaler(device.type)


def precision_of(engine: Engine) -> str:
    """What a trainer's run computes in: `fp32`, `bf16` or `fp16`."""
    return str(getattr(engine.state, _PRECISION, FULL))
