"""Task sets in files: what one may say, what came of it, a picture of it, and schedules to compare with."""
