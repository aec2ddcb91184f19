"""Data preparation: turns raw image-caption sources into data-bin folders that training reads."""
