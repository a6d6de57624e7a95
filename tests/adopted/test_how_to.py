"""The commands of the how-to, as typed, with a bundle of somebody else's: nobody has to write JSON."""

from __future__ import annotations

import re
import shlex

from adopted.shapes import make_bundle

NAME = "spleen_ct_segmentation"
OURS = {  # our names of files; and a twentieth of a training of seconds is less than a step
    " DATA ": " data ",
    "spleen_[0-9]+": "case_[0-9]+",
    "--budget 0.05": "--set max_epochs=1 --set epoch_length=2",
    "--subsets retain": "--subsets retain --set max_epochs=1",
}


def test_the_commands_of_the_how_to_run_as_typed(mu_monai, tmp_path, monkeypatch, repository):
    made = make_bundle("ct_binary_softmax", tmp_path)
    bundle = made.rename(tmp_path / NAME)
    before = sorted(path for path in bundle.rglob("*") if path.is_file())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "withdrawn.txt").write_text("case_03\n")
    text = (repository / "docs" / "how-to" / "own-bundle.md").read_text(encoding="utf-8")
    commands = [line for block in re.findall(r"```\n(.*?)```", text, re.DOTALL) for line in block.strip().splitlines()]
    assert len(commands) == 10
    for typed in commands:
        command = typed
        for word, ours in OURS.items():
            command = command.replace(word, ours)
        words = shlex.split(command)
        assert words[0] == "mu-monai"
        code, out, error = mu_monai(*words[1:])
        assert code == 0, (command, out, error)
    assert (tmp_path / "released" / NAME / "models" / "model.pt").is_file()
    assert (tmp_path / "report" / "index.html").is_file()
    assert before == sorted(path for path in bundle.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
