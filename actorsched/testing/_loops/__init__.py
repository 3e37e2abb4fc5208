"""Event loops whose time is a world's, and which ask it who comes next."""
