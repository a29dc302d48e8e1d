"""Training and evaluation: arrays in, a projection and its quality out. Uses no database and no network."""
