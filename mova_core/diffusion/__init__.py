"""Flow matching: noise, schedules, solvers, guidance."""
