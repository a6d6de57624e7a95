"""Pictures: one way to read them, for checks, look-alikes, training and prediction."""
