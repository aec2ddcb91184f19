"""Commands that look at prepared data-bins, and what they share."""
