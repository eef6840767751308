"""Fuzzing of every decoder that reads what came from outside.

target.py      what a target is
inputs.py      strategies: arbitrary content, and valid samples with a few edits
engine.py      runs one target, under limits of time and memory
targets.py     all of them
test_fuzz.py   a little of each, the same every time: for CI
__main__.py    `python -m fuzz --examples 100000 --seed 1`: for scripts/soak
"""
