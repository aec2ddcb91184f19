"""Generated pictures of shapes with exact captions: data without data."""
