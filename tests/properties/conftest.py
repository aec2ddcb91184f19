"""Properties are tried on the same examples in every run: a failure is one, and no accident."""

from hypothesis import settings

settings.register_profile("always the same", max_examples=100, deadline=None, derandomize=True, database=None)
settings.load_profile("always the same")
