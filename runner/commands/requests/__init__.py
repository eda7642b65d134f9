"""What is asked for: options and plan.yaml as data, and what they put into a graph."""
