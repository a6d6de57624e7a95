"""Models that are averages of adapters, one set per shard of patients; and folds: what makes forgetting exact."""
