"""Judge a finished run, or a model that was not unlearned here."""
