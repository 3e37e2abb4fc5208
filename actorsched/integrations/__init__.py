"""Where actorsched meets libraries that it does not need, each in a module that only its users import."""
