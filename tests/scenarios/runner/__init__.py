"""Runs the rows of the scenario table. Start reading at `../test_scenarios.py`."""
