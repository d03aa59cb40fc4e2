"""How the work is started: the command line and the Prefect flows."""
