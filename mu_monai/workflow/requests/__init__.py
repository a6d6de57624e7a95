"""The ledger of a model: who asked to be forgotten, by which route a version answered, and what became of it."""
