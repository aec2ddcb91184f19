"""``mvlm-eval``: what a checkpoint reaches on a downstream task, always printed with its protocol."""
