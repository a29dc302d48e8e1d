"""The trainer: runs finetune jobs, from claim to publication."""
