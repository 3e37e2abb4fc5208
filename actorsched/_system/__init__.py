"""The system's own actors: tasks, workers, the scheduler, supervisors, and the cells of users' actors."""
