"""The parts of tools/bench.py: cases and models, contestants, timing, environment, results, the table and the page."""
