"""Where actorsched meets libraries that it does not need: one module for each, imported by whoever wants it."""
