"""The program that NVFlare starts at a site: waits for rounds, does what each asks for, and answers.

It is a script of NVFlare's Client API. An answer holds weights or, for an audit, numbers; nothing else leaves the site.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import nvflare.client as flare
import torch

from mu_monai.bundle.config import sharing_data
from mu_monai.reasons import reason_for, unexpected
from mu_monai.runs.federation import AUDIT, Round, read_federation
from mu_monai.runs.typed import made
from mu_monai.workflow.federation.at_site import AtSite
from mu_monai.workflow.launching import keep_reason


def answer(name: str, message: Any) -> Any:
    """What a site sends back for a message of the server.

    Args:
        name: the name of the site.
        message: NVFlare's `FLModel` with the global weights, and in its `meta` the round, and the folder of the
            federation that it is one of.
    """
    site = _site(Path(message.meta["folder"]), name)
    work = made(Round, message.meta["work"])
    received = {key: torch.as_tensor(value) for key, value in message.params.items()}
    meta: dict[str, Any] = {"stamp": site.stamp(), "cases": site.site.cases, "passes": 0, "said": []}
    meta |= {"received_bytes": _bytes(received), "sent_bytes": 0}
    if work.task == AUDIT:
        numbers = asdict(site.measure(received))
        return flare.FLModel(metrics={"value": numbers["value"]}, meta={**meta, "numbers": numbers})
    changed = site.change(work, received)
    meta |= {"passes": changed.passes, "said": list(changed.said), "sent_bytes": _bytes(changed.weights)}
    return flare.FLModel(params=changed.weights, meta=meta)


@cache
def _site(folder: Path, name: str) -> AtSite:
    federation = read_federation(folder)
    return AtSite(folder=folder, federation=federation, site=federation.site(name))


def _bytes(weights: dict[str, torch.Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in weights.values())


def main() -> None:
    """Answer until the job is over."""
    flare.init()
    name = flare.get_site_name()
    with sharing_data():
        while flare.is_running():
            message = flare.receive()
            if message is None:
                break
            try:
                reply = answer(name, message)
            except Exception as error:
                keep_reason(reason_for(error) or unexpected(error))
                raise
            flare.send(reply)


if __name__ == "__main__":
    main()
