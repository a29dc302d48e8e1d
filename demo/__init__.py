"""The demo: create, finetune and search a small collection of free photographs, using only the REST API."""
