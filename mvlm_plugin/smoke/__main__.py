"""``python -m mvlm_plugin.smoke``: the same as mvlm-smoke."""

import sys

from .command import main

sys.exit(main())
