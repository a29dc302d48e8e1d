"""Training and evaluation: arrays in, a projection and its measured quality out. Uses neither database nor network."""
