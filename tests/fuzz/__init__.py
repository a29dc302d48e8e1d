"""Fuzz the parsers of what strangers send: images, CSVs, JSON bodies and data URLs.

`python -m tests.fuzz TARGET RUNS` fuzzes with atheris, which is not among the project's requirements. Inputs that are
worth keeping are in `seeds`; `test_seeds.py` replays them.
"""
