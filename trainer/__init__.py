"""The trainer: runs finetune jobs, from claimed to published."""
