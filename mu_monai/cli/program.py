"""The program `mu-monai`: its commands, its start, and its exit codes.

Add a new command to the list below, and a group of commands (a typer app in its own file) with `app.add_typer`.
"""

from __future__ import annotations

import logging
import sys
import warnings
from io import StringIO
from typing import Annotated, Any

import typer

from mu_monai import __version__
from mu_monai.cli.audit import audit
from mu_monai.cli.bundle import bundle
from mu_monai.cli.compare import compare
from mu_monai.cli.compose import compose
from mu_monai.cli.demo import demo
from mu_monai.cli.ending import INTERRUPTED, show_error, terminated_as_interrupted
from mu_monai.cli.evaluate import evaluate
from mu_monai.cli.federation import federation
from mu_monai.cli.merge import merge
from mu_monai.cli.methods import methods
from mu_monai.cli.milestones import milestones
from mu_monai.cli.networks import networks
from mu_monai.cli.predict import predict
from mu_monai.cli.release import release
from mu_monai.cli.report import report
from mu_monai.cli.request import request
from mu_monai.cli.revert import revert
from mu_monai.cli.rollback import rollback
from mu_monai.cli.screen import LogFormatter, show
from mu_monai.cli.shards import shards
from mu_monai.cli.split import split
from mu_monai.cli.train import train
from mu_monai.cli.unlearn import unlearn
from mu_monai.cli.verify import verify
from mu_monai.printable import one_line

_CLOSED_PIPE = 128 + 13  # the exit code that a shell reports for SIGPIPE
_Usage: Any = typer.BadParameter.__mro__[2]  # click's ClickException, which is a part of typer or of click

_RESUMED = ("--resume continues a run from its last finished epoch",)
_ROUNDS = ("--resume continues after the last finished round",)
_REPEATED = ("the same command continues a run from its last finished epoch",)
_CONTINUED = {  # what goes on after an interruption, by command; all others begin again
    **dict.fromkeys(("train", "unlearn", "compose", "rollback"), _RESUMED),
    **dict.fromkeys(("federation train", "federation forget-site"), _ROUNDS),
    **dict.fromkeys(("compare", "request run"), _REPEATED),  # their folder records what was begun
    "audit": ("the same command continues: attacks that were finished are kept",),
}

app = typer.Typer(
    name="mu-monai",
    help="Make a trained medical imaging model forget chosen patients, devices or classes, and show the evidence.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Also show the logs of the libraries.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    context.ensure_object(dict)["debug"] = debug
    if version:
        show(f"mu-monai {__version__}")
        raise typer.Exit
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.CRITICAL, handlers=[handler])
    logging.getLogger("mu_monai").setLevel(logging.INFO)
    # MONAI announces at every start that DICOM files will not be decoded on a GPU
    warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")


for _command in (  # in the order of the help page
    *(
        split,
        train,
        milestones,
        shards,
        unlearn,
        rollback,
        evaluate,
        predict,
        report,
        audit,
        compare,
        compose,
        revert,
        merge,
        release,
        verify,
    ),
    *(methods, networks, demo),
):
    app.command()(_command)
app.add_typer(request, name="request")
app.add_typer(federation, name="federation")
app.add_typer(bundle, name="bundle")
_GROUPS = [group.name for group in app.registered_groups]


def main() -> None:
    """Run the command line: exit code 0 for success, 2 for wrong input, 130 for Ctrl-C, 1 for anything else."""
    code: int = 0
    said: dict[str, bool] = {}
    try:
        with terminated_as_interrupted():
            code = app(standalone_mode=False, obj=said) or 0
    except _Usage as error:
        show(_usage(error), lines=True, err=True)
        code = error.exit_code
    except Exception as error:
        code = show_error(error, debug=said.get("debug", False))
    except SystemExit as stop:
        if not isinstance(stop.__context__, BrokenPipeError):
            raise
        code = _CLOSED_PIPE  # typer exits this way if its help is not read to the end
    if code == INTERRUPTED:
        words = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
        command = " ".join(words[: 2 if words[:1] and words[0] in _GROUPS else 1])
        show("; ".join(["interrupted", *_CONTINUED.get(command, ())]), err=True)
    sys.exit(code)


def _usage(error: Any) -> str:
    """Typer's message about a command line that it does not understand, with each argument on one line."""
    stream = StringIO()
    error.show(file=stream)
    text = stream.getvalue().rstrip("\n")
    for argument in sys.argv[1:]:
        text = text.replace(argument, one_line(argument))
    return text
