"""The shell around the decisions: run queue, carriers, clock, and one adapter per event loop."""
