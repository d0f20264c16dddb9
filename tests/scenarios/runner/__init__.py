"""What runs the rows of the scenario table: `test_scenarios.py` beside this is where to begin."""
