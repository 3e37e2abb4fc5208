"""Worlds in which something goes wrong at one moment, and what is looked at afterwards."""
