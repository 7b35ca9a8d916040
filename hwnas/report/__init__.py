"""What people look at: a run's report and its figures, and runs side by side."""
