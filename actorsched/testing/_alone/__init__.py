"""One actor or task alone: what runs it, and what stands in for the world around it."""
