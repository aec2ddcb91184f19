"""A grid of trainings, cached and resumable, and the table, plots and page of its figures."""
