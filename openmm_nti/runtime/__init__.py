"""How work is done: tasks, processes and clusters."""
