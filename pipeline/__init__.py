"""How data moves: the stages, the sources of data, the image store, tracking, the command line."""
