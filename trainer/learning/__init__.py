"""What a finetune learns: arrays in, a projection and its measured quality out. Knows no database and no network."""
