"""The program mvlm-prep: data_prep.cli in a process that does not register the plugin with fairseq."""

import os
import sys

os.environ["MVLM_PLUGIN_REGISTER"] = "0"

from data_prep.cli import main

if __name__ == "__main__":
    sys.exit(main())
