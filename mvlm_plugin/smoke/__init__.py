"""``mvlm-smoke``: check in a minute what a long run on several processes relies on."""
