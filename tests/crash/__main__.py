"""`python -m crash`"""

import sys

if __name__ == "__main__":
    # a process of the campaign loads this module again, and needs nothing of it
    from crash.campaign import main

    sys.exit(main())
