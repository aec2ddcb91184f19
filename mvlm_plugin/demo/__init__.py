"""``mvlm-demo``: a page in the browser to try a checkpoint. What it shows is worked out without the page's package."""
